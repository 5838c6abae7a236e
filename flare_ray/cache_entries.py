"""What this machine's cache holds, what of it is in use, and removing the rest: all of it can be made again.

    removed, kept = remove(entries(cache_folder()))

Only files and folders of the names that this package gives are listed; everything else is left alone. MLflow's
databases and the notes of mounts stay.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from flare_ray.cache import DEFAULT, VARIABLE
from flare_ray.errors import InputError, Problem
from flare_ray.store.identity import PLACE

_HEX = r"[0-9a-f]{12,}"
_NAMES = {
    "rows": rf"{_HEX}[.-].*",
    "digests": _HEX,
    "checksums": _HEX,
    "input-checks": rf"{_HEX}(\..*)?",
    "source-states": rf"lock|{_HEX}(\..*)?",
    "mt-states": _HEX,
    "translations": rf"{_HEX}\.sqlite.*",
    "ct2": rf"{_HEX}(\..*)?",
    "store": _HEX,
}
"""Folders of the cache, and names of the entries in each; what is being written or removed begins with a point."""
KINDS = {
    "rows": "clean rows of data files and hub data sets",
    "digests": "hashes of checkpoint and data files",
    "checksums": "files that were read and found whole",
    "input-checks": "results of checks of inputs",
    "agreed-scores": "scores that agree with their predictions",
    "source-states": "hidden states of English text",
    "mt-states": "states of translation models' encoders",
    "translations": "translations of texts",
    "ct2": "translation models converted for ctranslate2",
    "store": "copies of files of object stores",
    "sandbox": "the constructed world of languages (removed with --all alone)",
}
SANDBOX = "sandbox"
_STAYS = ("mlflow", "mounts")
_LOADED_BY_PATH = ("store", "ct2", SANDBOX)
"""Kinds whose files a running sweep opens whenever it needs them."""
_YOUNG = 600.0
"""Seconds without a change after which a running sweep has opened what it just made."""


@dataclass(frozen=True)
class CacheEntry:
    """One file or folder of the cache. changed: Unix time of the newest file."""

    kind: str
    path: Path
    bytes: int
    changed: float


def entries(cache: Path) -> list[CacheEntry]:
    """Return everything of the cache that can be made again. Raises InputError for any other folder."""
    _refuse_others(cache)
    listed = [CacheEntry(kind, path, *_size(path)) for kind, path in _paths(cache)]
    return sorted(listed, key=lambda entry: (list(KINDS).index(entry.kind), entry.path))


def foreign(cache: Path) -> list[Path]:
    """Return what lies in the cache and is not listed by `entries`."""
    known = {path for _, path in _paths(cache)}
    inside = {path.parent for path in known} - {cache}
    folders = [cache, *(cache / name for name in _NAMES if (cache / name).is_dir())]
    every = (path for folder in folders for path in _children(folder))
    return [path for path in every if path not in known | inside and path.name not in (*_NAMES, *_STAYS)]


def remove(chosen: Iterable[CacheEntry]) -> tuple[list[CacheEntry], dict[Path, str]]:
    """Remove entries that nobody uses; return them, and why each other entry stays."""
    listed = list(chosen)
    users, opened = _users({entry.path for entry in listed}), _opened()
    removed: list[CacheEntry] = []
    remaining: dict[Path, str] = {}
    for entry in listed:
        if reason := _in_use(entry, users, opened):
            remaining[entry.path] = reason
            continue
        try:
            _discard(entry.path)
        except OSError as error:
            remaining[entry.path] = f"{type(error).__name__}: {error.strerror or error}"
        else:
            removed.append(entry)
    return removed, remaining


def _refuse_others(cache: Path) -> None:
    """Raise InputError for a file, and for a folder that this package has not made as a cache."""
    if cache.exists() and not cache.is_dir():
        raise InputError("cache", [Problem(VARIABLE, f"{cache}, a file", "a folder")])
    real = cache.resolve()
    around = {Path.home().resolve(), *Path.home().resolve().parents}
    names = {path.name for path in _children(cache)}
    ours = {*_NAMES, *_STAYS, "agreed-scores"} & names or {name for name in names if _is_sandbox(name)}
    is_store = PLACE in names
    if not cache.exists() or (real not in around and not is_store and (ours or not names)):
        return
    other = (
        "the storage of a sweep" if is_store else f"a folder with other files: {', '.join(sorted(names)[:3])}"
    )
    got = f"{cache}, {other}"
    raise InputError("cache", [Problem(VARIABLE, got, "the folder of a cache that flare_ray made")])


def _paths(cache: Path) -> Iterator[tuple[str, Path]]:
    """Yield the kind and the path of every entry."""
    for path in _children(cache):
        if path.name == "agreed-scores":
            yield path.name, path
        elif _is_sandbox(path.name):
            yield SANDBOX, path
        elif pattern := _NAMES.get(path.name):
            yield from ((path.name, file) for file in _children(path) if _fits(pattern, file.name))


def _is_sandbox(name: str) -> bool:
    return _fits(r"sandbox-[0-9a-f]{8}([.-].*)?", name)


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(rf"\.?({pattern})(\.removed)?", name) is not None


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> tuple[int, float]:
    """Return the bytes of a file or folder, links not followed, and when the newest part was changed."""
    total, newest = 0, 0.0
    for file in _files(path):
        with suppress(OSError):
            status = file.lstat()
            total += status.st_size
            newest = max(newest, status.st_mtime)
    return total, newest


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for parent, _, files in os.walk(path):
        yield from (Path(parent, name) for name in files)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        gone = path.with_name(f".{path.name}.removed")
        path.rename(gone)  # its name goes at once: nobody finds a part of it
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def _in_use(entry: CacheEntry, users: list[int], opened: set[str]) -> str | None:
    """Return why an entry is not removed now; None if nobody uses it."""
    real = os.path.realpath(entry.path)
    if any(path == real or path.startswith(f"{real}/") for path in opened):
        return "a process has it open"
    if not users:
        return None
    running = f"process {users[0]} uses this cache"
    if entry.kind in _LOADED_BY_PATH or entry.path.name.endswith("lock"):
        return running
    return running if time.time() - entry.changed < _YOUNG else None


def _opened() -> set[str]:
    """Return the real paths of all files that processes of this machine have open or mapped, as far as is seen."""
    paths: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            paths.update(os.path.realpath(link) for link in (process / "fd").iterdir())
        with suppress(OSError, ValueError):
            lines = (process / "maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            paths.update(line[line.index("/") :] for line in lines if "/" in line)
    return paths


def _users(paths: Iterable[Path]) -> list[int]:
    """Return other processes of this package, and Ray's workers, that have the cache of these paths."""
    caches = {os.path.realpath(parent) for path in paths for parent in path.parents}
    own_processes = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    users = []
    for process in psutil.process_iter():
        if process.pid in own_processes or not _is_ours(process):
            continue
        try:
            environment = _environment(process)
        except psutil.NoSuchProcess:
            continue
        home = environment.get("HOME", os.path.expanduser("~"))
        folder = environment.get(VARIABLE) or DEFAULT.replace("~", home, 1)
        if not environment or os.path.realpath(folder) in caches:
            users.append(process.pid)
    return users


def _environment(process: psutil.Process) -> dict[str, str]:
    """Return a process's environment; empty where it cannot be read, as of another user's. Raises NoSuchProcess.

    A Ray worker overwrites its own with its title; it got that of its raylet.
    """
    raylets = [parent for parent in process.parents() if "raylet" in parent.name()]
    for source in (process, *raylets):
        try:
            environment = source.environ()
        except (psutil.AccessDenied, OSError):
            continue
        if "HOME" in environment or VARIABLE in environment:
            return environment
    return {}


def _is_ours(process: psutil.Process) -> bool:
    try:
        words = " ".join(process.cmdline())
    except (psutil.Error, OSError):
        return False
    return any(sign in words for sign in ("flare_ray", "flare-ray", "ray::", "default_worker.py"))
