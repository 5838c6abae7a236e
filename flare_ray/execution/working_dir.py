"""The folder that goes to the cluster with a job: an allow-list of code, sweep files and what the sweep names.

    selection = select(Path("."), "sweeps/full.yaml", extended_files, fields)
    with staged(selection) as folder:  # a copy with these files alone, for Ray to pack
        ...

Sent are the package `flare_ray/` where the folder has it, the sweep file with the files that it extends, and local
data and checkpoints that the sweep names by a path in the folder. Everything else stays. So do, even among what is
named, files that look like secrets, names that begin with a dot, caches, and symbolic links that lead out of the
folder. The package goes through the head's memory to every node, so it has to be small, and Ray has a limit.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.execution.secret_files import holds_secret, looks_secret

PACKAGE = "flare_ray"
_PACKAGED = (".py", ".csv", ".css", ".js", ".j2")
"""Endings of the package's own files; others in its folder stay."""
_CACHES = ("__pycache__", "*.egg-info", "*.pyc")
_NO_PATHS = ("name", "storage", "tracking", "include", "exclude", "languages", "tasks", "extends")
"""Top-level fields of a sweep that name no file to be read."""
_REFERENCES = ("checkpoint", "model", "mt_model", "translation", "data")
"""Fields whose value is a folder of that name where there is one; in others only what has a slash is a path."""
_SHOWN = 10
_MIB = 2**20


@dataclass(frozen=True)
class Selection:
    """The files of a folder that go along.

    files: path in the folder and bytes. left: path in the folder -> why it stays, secrets first. notes: remarks on
    what the sweep names elsewhere.
    """

    root: Path
    files: tuple[tuple[str, int], ...]
    left: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files; Ray packs without compression."""
        return sum(size for _, size in self.files)

    def lines(self) -> list[str]:
        """Return what is shown before it is sent: the files by folder, the size, and what is left."""
        lines = [f"{self.root}: {len(self.files)} files, {self.size / _MIB:.1f} MiB go along"]
        groups: dict[str, list[int]] = {}
        for path, size in self.files:
            top, slash, _ = path.partition("/")
            groups.setdefault(path if not slash else _group(path, top), []).append(size)
        sizes = sorted(groups.items(), key=lambda group: -sum(group[1]))
        lines += [_line(f"  + {path}", sizes) for path, sizes in sizes[:_SHOWN]]
        lines += [f"  + {len(sizes) - _SHOWN} more"] if len(sizes) > _SHOWN else []
        if self.left:
            lines.append(f"{len(self.left)} stay here:")
            lines += [f"  - {path}: {why}" for path, why in list(self.left.items())[:_SHOWN]]
            lines += [f"  - {len(self.left) - _SHOWN} more"] if len(self.left) > _SHOWN else []
        return lines + list(self.notes)


def select(
    folder: Path,
    sweep: str,
    extended: Sequence[tuple[Path, str]],
    fields: Mapping[str, Any],
    include: Sequence[str] = (),
    most: int | None = None,
) -> Selection:
    """Return what goes along of a folder.

    sweep: the sweep file's path in it. extended: files that it extends, and how it names them. fields: the sweep's,
    merged. include: further paths in the folder. most: bytes; Ray's limit if left out.

    Raises:
        InputError: the whole is too large, or something that the job needs is not in the folder or would be left.
    """
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    root = folder.absolute()
    walk = _Walk(root, _ignored(root))
    problems = list[Problem]()
    walk.take_file(root / sweep, sweep, "FILE", problems)
    for file, name in extended:
        walk.take_file(file, name, "extends", problems)
    if (root / PACKAGE / "__init__.py").is_file():
        walk.take(root / PACKAGE)
    named = [*named_paths(fields, root), *(("--include", path) for path in include)]
    notes = [note for where, path in named if (note := walk.take_named(where, path, problems))]
    most = most or GCS_STORAGE_MAX_SIZE
    size = sum(walk.files.values())
    if size >= most:
        problems.append(_too_large(walk.files, size, most))
    if problems:
        raise InputError("submit", problems)
    return Selection(root, tuple(sorted(walk.files.items())), walk.left_behind(), tuple(notes))


def named_paths(fields: Mapping[str, Any], root: Path) -> Iterator[tuple[str, str]]:
    """Yield (dotted field, value) of the sweep's local paths: those that look so, and folders that are there."""

    def walk(value: Any, where: str, key: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name, item in value.items():
                inner = key if key == "data" else str(name)
                yield from walk(item, f"{where}.{name}", inner)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk(item, f"{where}[{index}]", key)
        elif isinstance(value, str) and _is_path(value, key, root):
            yield where, value

    for name, value in fields.items():
        if name not in _NO_PATHS:
            yield from walk(value, name, name)


@contextmanager
def staged(selection: Selection) -> Iterator[Path]:
    """Copy the files into a temporary folder, for Ray to pack. Raises InputError where one cannot be read."""
    with tempfile.TemporaryDirectory(prefix="flare-ray-job-") as scratch:
        for path, _ in selection.files:
            target = Path(scratch, path)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(selection.root / path, target)
            except OSError as error:
                expected = "files that can be read, and room for a copy of them in TMPDIR"
                raise InputError(
                    "submit", [Problem("--working-dir", f"{path}: {error}", expected)]
                ) from error
        yield Path(scratch)


class _Walk:
    """Files that were taken, and what was passed by."""

    def __init__(self, root: Path, ignored: Callable[[Path], bool]):
        self.root, self.ignored = root, ignored
        self.files: dict[str, int] = {}
        self.refused: dict[str, str] = {}

    def take_file(self, file: Path, name: str, where: str, problems: list[Problem]) -> None:
        """Take one file that the job cannot do without. name: as it is written."""
        path = self._inside(file)
        if path is None:
            why = "it is outside of the folder"
        elif name.startswith(("/", "~")):
            why = "this machine's path"
        else:
            why = self._why_not(self.root / path)
        if path is None or why or not self._take(self.root / path):
            got = f"{name}, which does not go to the cluster with {self.root}: {why or 'no regular file'}"
            problems.append(Problem(where, got, "a sweep file in --working-dir, named by a relative path"))

    def take_named(self, where: str, value: str, problems: list[Problem]) -> str:
        """Take a file or folder that the sweep names; return a remark where it is not in this folder."""
        if value.startswith(("/", "~")):
            inside = self._inside(Path(os.path.expanduser(value)))
            hint = (
                f"; write it as {inside} to send it"
                if inside and Path(os.path.expanduser(value)).exists()
                else ""
            )
            return f"{where}: {value} is not sent: every node must have it at that place{hint}"
        path = self._inside(self.root / value)
        there = self.root / path if path is not None else None
        if there is None or not there.exists():
            got = (
                f"{value}, outside of {self.root}"
                if there is None
                else f"{value}, which is not in {self.root}"
            )
            expected = "a path in --working-dir, which goes along, or an absolute one that all nodes share"
            problems.append(Problem(where, got, expected))
        elif why := self._why_not(there):
            problems.append(
                Problem(where, f"{value}, which stays here: {why}", "data and models by another name")
            )
        else:
            self.take(there)
        return ""

    def take(self, path: Path) -> None:
        """Take a file, or all of a folder but what looks like a secret, caches and links that lead out."""
        if not path.is_dir():
            self._take(path)
            return
        for folder, names, files in os.walk(path):
            taken = []
            for name in sorted(names):
                why = self._why_not(Path(folder, name)) or (
                    "a link" if Path(folder, name).is_symlink() else ""
                )
                if why:
                    self._refuse(Path(folder, name), why)
                else:
                    taken.append(name)
            names[:] = taken
            for name in sorted(files):
                if why := self._why_not(Path(folder, name)):
                    self._refuse(Path(folder, name), why)
                else:
                    self._take(Path(folder, name))

    def left_behind(self) -> dict[str, str]:
        """Return what is in the folder and does not go along: what looks like a secret first."""
        left = dict(self.refused)
        parents = {parent.as_posix() for path in self.files for parent in PurePosixPath(path).parents}
        for parent in sorted(parents):
            for entry in sorted((self.root / parent).iterdir()):
                path = entry.relative_to(self.root).as_posix()
                known = path in self.files or path in parents or path in left
                if known or any(one.startswith(f"{path}/") for one in left):
                    continue
                left[path] = self._why_not(entry) or "neither the package nor named by the sweep"
        left = {path: why for path, why in left.items() if why != "a cache"}
        rank = {"looks like a secret": 0, "a link out of the folder": 1}
        return dict(sorted(left.items(), key=lambda one: (rank.get(one[1], 2), one[0].count("/"), one[0])))

    def _take(self, file: Path) -> bool:
        status = file.stat() if file.exists() else None
        if status is None or not stat.S_ISREG(status.st_mode):
            self._refuse(file, "no regular file")
            return False
        self.files[file.relative_to(self.root).as_posix()] = status.st_size
        return True

    def _refuse(self, path: Path, why: str) -> None:
        self.refused[path.relative_to(self.root).as_posix()] = why

    def _inside(self, path: Path) -> str | None:
        """Return the path in the folder; None where it leads out of it, also by a link on the way."""
        lexical = Path(os.path.normpath(path.absolute()))
        if not lexical.is_relative_to(self.root) or not _within(lexical, self.root):
            return None
        return lexical.relative_to(self.root).as_posix()

    def _why_not(self, path: Path) -> str:
        """Return why something stays although it is in a folder that goes; empty where it goes."""
        if not _within(path, self.root):
            return "a link out of the folder"
        parts = path.relative_to(self.root).parts
        packaged = parts[:1] == (PACKAGE,)
        code = packaged and path.suffix == ".py"  # the package's own code speaks of secrets
        if any(looks_secret(part) for part in parts[: -1 if code else None]):
            return "looks like a secret"
        if not code and path.is_file() and holds_secret(path):
            return "looks like a secret"
        if any(part.startswith(".") for part in parts):
            return "a hidden name"
        if any(fnmatch(part, pattern) for part in parts for pattern in _CACHES):
            return "a cache"
        if packaged and path.is_file() and path.suffix not in _PACKAGED:
            return "no file of the package"
        return ".rayignore names it" if self.ignored(path) else ""


def _within(path: Path, root: Path) -> bool:
    """Return whether a path stays in the root when its links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False


def _is_path(value: str, key: str, root: Path) -> bool:
    if value.startswith((".", "/", "~")):
        return True
    if "://" in value:
        return False
    if value.partition("@")[0].count("/") > 1:
        return True
    return ("/" in value or key in _REFERENCES) and (root / value).exists()


def _ignored(root: Path) -> Callable[[Path], bool]:
    """Return whether the folder's own `.rayignore` names a path, by Ray's reading of it."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _get_excludes, _get_ignore_file

    always = _get_excludes(root, get_runtime_env_default_excludes())  # Ray would leave these out of the copy
    own = _get_ignore_file(root, ".rayignore")
    # by its own name, and not by what a link stands for
    return lambda path: bool(path != root and (always(path) or (own is not None and own(path))))


def _too_large(files: Mapping[str, int], size: int, most: int) -> Problem:
    largest = sorted(files.items(), key=lambda file: -file[1])[:5]
    large = ", ".join(f"{path} ({size / _MIB:.1f} MiB)" for path, size in largest)
    got = f"{size / _MIB:.0f} MiB in {len(files)} files; the largest: {large}"
    remedy = (
        f"less than {most / _MIB:.0f} MiB, Ray's limit: data and models belong into storage all nodes see"
    )
    return Problem("--working-dir", got, f"{remedy}, other files into .rayignore")


def _group(path: str, top: str) -> str:
    """Return under which line a file is counted: its top folder, or for the sweeps' its own name."""
    return path if path.endswith((".yaml", ".yml")) and path.count("/") < 3 else f"{top}/"


def _line(name: str, sizes: Sequence[int]) -> str:
    count = f"{len(sizes)} files, " if name.endswith("/") else ""
    return (
        f"{name}: {count}{sum(sizes) / _MIB:.1f} MiB"
        if sum(sizes) >= 0.1 * _MIB
        else f"{name}: {count}{sum(sizes)} bytes"
    )
