"""Files that carry a language and a split in their names: `sw.dev.tsv`, `swahili.train.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flare_ray.errors import InputError, Problem

SPLIT_NAMES = {"train": ("train",), "validation": ("dev", "valid", "validation"), "test": ("test",)}
"""Split -> what files call it, the usual name first."""

_NAME = re.compile(r"(?P<language>[^.]+)\.(?P<split>[a-z]+)(?P<suffix>\.[a-z]+)")
_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}


@dataclass(frozen=True)
class Named:
    """A file called `<language>.<split>.<suffix>`."""

    file: Path
    language: str
    split: str


def named_files(folder: Path, suffixes: Sequence[str]) -> list[Named]:
    """All such files of a folder with one of these suffixes, by suffix in the order given, then by name."""
    found = []
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _NAME.fullmatch(file.name)
        if match and match["suffix"] in suffixes and match["split"] in _SPLITS:
            found.append(Named(file, match["language"], _SPLITS[match["split"]]))
    return sorted(found, key=lambda one: suffixes.index(one.file.suffix))


def only(files: Iterable[Path]) -> Path | None:
    """The one file among these; of the same file in two formats the first.

    Raises InputError when two files claim to be one split, since which is meant cannot be known.
    """
    there = list(files)
    if len({file.stem for file in there}) > 1:
        found = "several files for one split: " + ", ".join(map(str, there))
        raise InputError(str(there[0].parent), [Problem("", found, "one of them")])
    return there[0] if there else None


def below(folder: Path, name: str) -> Path | None:
    """The file of this name in a folder or, as unpacked archives have it, up to two folders further down."""
    places = (place for depth in ("", "*/", "*/*/") for place in sorted(folder.glob(depth + name)))
    return next((place for place in places if place.is_file()), None)
