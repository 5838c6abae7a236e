"""Files that are in a task's folder and are not read, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from flare_ray.core.languages import code_of
from flare_ray.errors import InputError
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.store.manifest import checksum_of
from flare_ray.tables.reader import SUFFIXES
from flare_ray.tasks._folders import SPLIT_NAMES

if TYPE_CHECKING:
    from flare_ray.tasks.base import Task

_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z")
_DOCUMENTS = {
    *("readme", "license", "licence", "notice", "citation", "changelog", "authors", "copying"),
    *("dataset_infos", "dataset_info", "checksums"),
}
_NO_DATA = {
    ".md",
    ".rst",
    ".py",
    ".sh",
    ".yaml",
    ".yml",
    ".toml",
    ".lock",
    ".pdf",
    ".bib",
    ".html",
    ".cff",
    ".sha256",
}
_DEEPEST = 3  # folders
_MOST = 2000  # files that are looked at
_SHOWN = 3  # files in an error


@dataclass(frozen=True)
class Unread:
    """A file that is not read. instead: the file that is read for its split, if there is one."""

    file: Path
    reason: str
    language: str = ""
    split: str = ""
    instead: Path | None = None


def unread_files(task: Task, source: str) -> list[Unread]:
    """Return the files of a local source that look like data and are not read. Raises OSError."""
    if not is_local(source) or not local_path(source).is_dir():
        return []
    folder = local_path(source)
    languages = [task.source_language, *task.targets(source)]
    files = {
        (code, split): file
        for code in languages
        for split in SPLIT_NAMES
        for file in _read(task, source, code, split)
    }
    known = {*files.values(), *_translations(task, source, languages)}
    left_out = [folder / name for name in task.left_out]  # named by `Task.skipped`
    unread = [file for file in _data_files(folder) if file not in known and file.parent not in left_out]
    return [_explained(task, folder, file, files) for file in unread]


def unread_beside(task: Task, source: str) -> str:
    """Return the files that are there and not read, for the message of one that is not there; or nothing."""
    try:
        unread = unread_files(task, source)
    except OSError:
        return ""
    if not unread:
        return ""
    shown = "; ".join(f"{entry.file.name}: {entry.reason}" for entry in unread[:_SHOWN])
    more = f"; and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    return f" (there and not read: {shown}{more})"


def differ(task: Task, entry: Unread) -> bool:
    """Return whether two files for one split have different rows, both of which can be read."""
    if entry.instead is None or checksum_of(entry.file) == checksum_of(entry.instead):
        return False
    try:
        rows = [task.file_rows(file, entry.language, entry.split) for file in (entry.file, entry.instead)]
        examined = [map(task.examine, some) for some in rows]
        return any(own_row != other for own_row, other in zip_longest(*examined))
    except InputError:
        return False


def _read(task: Task, source: str, language: str, split: str) -> list[Path]:
    try:
        part = task.part(local_path(source), language, split)
    except InputError:  # two files for one split: reported by itself
        return []
    return [part.file] if part else []


def _translations(task: Task, source: str, languages: list[str]) -> Iterator[Path]:
    for language in languages:
        for split in SPLIT_NAMES:
            try:
                file = task.translation_file(source, language, split)
            except InputError:
                continue
            if file:
                yield file


def _data_files(folder: Path) -> Iterator[Path]:
    """Yield files that may be data: any in the folder itself or a language's, deeper down those of known formats."""
    every = (file for file in sorted(folder.rglob("*")) if file.is_file())
    for file in islice(every, _MOST):
        inner = file.relative_to(folder).parts
        if len(inner) > _DEEPEST or any(name[0] in "._" for name in inner) or not file.suffix:
            continue
        if file.name.partition(".")[0].casefold() in _DOCUMENTS or file.suffix in _NO_DATA:
            continue
        if file.suffix in (*SUFFIXES, *_PACKED) or len(inner) == 1 or code_of(file.parent.name):
            yield file


def _explained(task: Task, folder: Path, file: Path, files: dict[tuple[str, str], Path]) -> Unread:
    """Return an unread file with the first reason that holds."""
    suffixes = " | ".join(suffix.removeprefix(".") for suffix in SUFFIXES)
    if file.suffix in _PACKED:
        return Unread(file, "packed; unpack it")
    if file.suffix not in SUFFIXES:
        return Unread(file, f"format {file.suffix or '(none)'} is not read; convert it to {suffixes}")
    names = file.stem.split(".")
    by_folder = file.parent != folder and len(names) == 1
    name, stem = (file.parent.name, names[0]) if by_folder else (names[0], ".".join(names[1:]))
    language = task.code(name)
    if stem.endswith("english"):
        return Unread(file, "no split stands beside this translation, or another translation of it is read")
    if stem not in _SPLITS:
        known = " | ".join(", ".join(names) for names in SPLIT_NAMES.values())
        return Unread(file, f"no split is called {stem!r}; name it {known}")
    split = _SPLITS[stem]
    if instead := files.get((language, split)):
        reason = f"{instead.relative_to(folder)} is read for the {split} split of {language}"
        return Unread(file, reason, language, split, instead)
    if not task.fits(file, language):
        return Unread(file, f"it lacks a column of {', '.join(task.text_columns)}")
    if (language, "test") not in files:
        return Unread(
            file, f"{language} has no test split; {task.name} reads {task.usual_file(language, 'test')}"
        )
    return Unread(file, f"{task.name} reads {task.usual_file(language, split)} for it")
