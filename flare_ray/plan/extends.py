"""Sweep files that extend others: the fields of the others, with those of the file laid over them.

    extends: common.yaml                # a path from this file's folder
    extends: [common.yaml, small.yaml]  # later files over earlier ones, this file over all

Mappings are merged key by key at any depth; any other value, a list too, is replaced as a whole. Paths inside
of a file mean the same whichever file they stand in. All files together have the bounds of one (yaml_values.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.plan.read_file import Unreadable, decode, read_bytes
from flare_ray.plan.schema import Sweep
from flare_ray.plan.yaml_values import MOST_BYTES, describe, inner_path, read_document

KEY = "extends"
MOST_FILES = 32
"""Files that one sweep file may extend, each counted wherever it is named."""
_LISTED = 1000
"""Names in a folder that are looked at for the nearest to an absent one."""


@dataclass(frozen=True)
class Fields:
    """The fields of a sweep file, and where each comes from by dotted path: `line 3`, `common.yaml line 3`."""

    values: dict[str, Any]
    places: dict[str, str]

    def place(self, path: str) -> str:
        """Return where the value at a path comes from, or what it stands in; empty if no file has it."""
        while path not in self.places:
            cut = max(path.rfind("."), path.rfind("["))
            if cut < 0:
                return ""
            path = path[:cut]
        return self.places[path]


@dataclass
class _Reading:
    """What is left of the bounds while files are read, and what was wrong with them."""

    bytes: int = MOST_BYTES
    files: int = MOST_FILES
    problems: list[Problem] = field(default_factory=list)


def extended(file: Path) -> dict[str, Any]:
    """Return the fields of a file and of all that it extends. Raises InputError as `read_fields`."""
    return read_fields(file).values


def read_fields(file: Path) -> Fields:
    """Return the fields of a file and of all that it extends, and their places.

    Raises InputError with every file that cannot be read or extends itself, and by which chain it is reached.
    """
    reading = _Reading()
    merged = _merged_fields(_read(file, reading, ""), (file,), reading)
    if reading.problems:
        raise InputError(str(file), reading.problems)
    return merged


def extended_files(file: Path) -> list[tuple[Path, str]]:
    """Return all files that a sweep file extends, and how each is named. Raises InputError as `extended`."""
    files: dict[Path, str] = {}
    pending = [file]
    while pending:
        current = pending.pop()
        for name in _names(read_yaml(current).get(KEY), (current,), []):
            other = current.parent / os.path.expanduser(name)
            if other not in files:
                files[other] = name
                pending.append(other)
    return list(files.items())


def read_yaml(file: Path) -> dict[str, Any]:
    """Return a YAML file's top mapping. Raises InputError with line and column."""
    return _read(file, _Reading(), "").values


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, mappings inside of them too."""
    both = dict(under)
    for key, value in over.items():
        mine = both.get(key)
        both[key] = merge(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return both


def _read(file: Path, reading: _Reading, name: str) -> Fields:
    """Return one file's fields. name: what its places begin with. Raises InputError."""
    try:
        content = read_bytes(file, reading.bytes)
        reading.bytes -= len(content)
        document = read_document(decode(content))
    except Unreadable as error:
        expected = error.wanted if os.path.lexists(file) else f"a sweep file: {_nearest(file)}"
        raise InputError(str(file), [Problem("FILE", error.found, expected)]) from error
    except yaml.YAMLError as error:
        raise InputError(str(file), [Problem("FILE", describe(error), "YAML")]) from error
    if not isinstance(document.value, dict):
        expected = "a mapping of the fields " + ", ".join(Sweep.model_fields)
        raise InputError(str(file), [Problem("FILE", type(document.value).__name__, expected)])
    return Fields(
        document.value, {path: f"{name}line {line}" for path, line in document.lines.items() if path}
    )


def _nearest(file: Path) -> str:
    """Return which sweep file of the folder may have been meant."""
    try:
        names = sorted(entry.name for entry, _ in zip(os.scandir(file.parent), range(_LISTED), strict=False))
    except (OSError, ValueError):
        names = []
    return registry.wanted(file.name, [name for name in names if name.endswith(".yaml")])


def _merged_fields(own: Fields, chain: tuple[Path, ...], reading: _Reading) -> Fields:
    """Lay a file's fields over those of the files that it extends; what is wrong with these goes to `reading`."""
    merged = Fields({}, {})
    for name in _names(own.values.get(KEY), chain, reading.problems):
        other = chain[-1].parent / os.path.expanduser(name)
        longer = (*chain, other)
        if os.path.realpath(other) in {os.path.realpath(earlier) for earlier in chain}:
            reading.problems.append(Problem(KEY, _shown(longer), "files that do not extend themselves"))
            continue
        reading.files -= 1
        if reading.files < 0:
            if reading.files == -1:
                got = f"{_shown(longer)} after {MOST_FILES} other files"
                reading.problems.append(Problem(KEY, got, f"at most {MOST_FILES} files"))
            continue
        try:
            fields = _read(other, reading, f"{name} ")
        except InputError as error:
            reading.problems += [
                Problem(KEY, f"{_shown(longer)}: {earlier.found}", earlier.wanted)
                for earlier in error.problems
            ]
            continue
        merged = _laid_over(merged, _merged_fields(fields, longer, reading))
    rest = {key: value for key, value in own.values.items() if key != KEY}
    return _laid_over(merged, Fields(rest, own.places))


def _laid_over(under: Fields, over: Fields) -> Fields:
    """Merge the values of two files; a value that is replaced takes the places of what was inside of it with it."""
    replaced = _leaves(over.values, "")
    remaining = {path: origin for path, origin in under.places.items() if not _is_inside(path, replaced)}
    return Fields(merge(under.values, over.values), remaining | over.places)


def without_inner(places: Mapping[str, str], path: str) -> dict[str, str]:
    """Return the places without those of what is inside of a value that is replaced."""
    return {
        inner: origin for inner, origin in places.items() if not inner.startswith((f"{path}.", f"{path}["))
    }


def _leaves(values: Mapping[Any, Any], path: str) -> set[str]:
    """Return the paths of all values that are no mappings."""
    leaves: set[str] = set()
    for key, value in values.items():
        inner = inner_path(path, key)
        leaves |= _leaves(value, inner) if isinstance(value, Mapping) else {inner}
    return leaves


def _is_inside(path: str, others: set[str]) -> bool:
    while (cut := max(path.rfind("."), path.rfind("["))) >= 0:
        path = path[:cut]
        if path in others:
            return True
    return False


def _names(given: Any, chain: tuple[Path, ...], problems: list[Problem]) -> list[str]:
    """The files that one file extends, as written there."""
    names = given if isinstance(given, list) else [] if given is None else [given]
    good = [name for name in names if isinstance(name, str) and name]
    problems += [
        Problem(KEY, f"{name!r} in {_shown(chain)}", "the path of a sweep file, or a list of paths")
        for name in names
        if not isinstance(name, str) or not name
    ]
    return good


def _shown(chain: tuple[Path, ...]) -> str:
    return " → ".join(map(str, chain))
