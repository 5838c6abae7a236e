"""The mounts that storages were on: a driver that starts while one is unmounted must not begin again beneath it.

    remember_mount(store.files)            # of a store that is there: noted in this machine's cache
    mount_problems(store.files)            # of a folder without a store: the mount that it was on is gone

A folder that was deleted, or never was on a mount of its own, is a new store like any other.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from flare_ray.cache import cache_folder
from flare_ray.errors import Problem
from flare_ray.store.disk import mounts_below
from flare_ray.store.files import Files


def remember_mount(files: Files) -> None:
    """Note on which mount a store lies; a cache that cannot be written costs only this help."""
    if not files.local or (mount := _mount_of(files.root)) is None:
        return
    note = _note(files)
    if _noted(note) == mount:
        return
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        scratch = note.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps({"storage": files.root, "mount": mount}), encoding="utf-8")
        scratch.replace(note)


def mount_problems(files: Files) -> list[Problem]:
    """Return that the mount is continued which a store was at this path; nothing where none is known to be."""
    if not files.local:
        return []
    note = _note(files)
    mount = _noted(note)
    if mount is None or mount in _mounts():
        return []
    got = f"{files.root}: no store, and nothing is mounted at {mount}, where the store at this path was"
    remedy = f"{mount} mounted again; or, if a new store is to begin here, delete {note}"
    return [Problem("storage", got, remedy, passes=True)]


def _mount_of(folder: str) -> str | None:
    """Return where the file system of a folder is mounted; None for the machine's own root."""
    path = os.path.realpath(folder)
    around = [mount for mount in _mounts() if f"{path}/".startswith(f"{mount}/")]
    return max(around, key=len, default=None)


def _mounts() -> set[str]:
    return {f"/{mount}" for mount in mounts_below("/") if mount}


def _note(files: Files) -> Path:
    name = blake2b(files.root.encode(), digest_size=8).hexdigest()
    return cache_folder() / "mounts" / f"{name}.json"


def _noted(note: Path) -> str | None:
    try:
        mount = json.loads(note.read_text(encoding="utf-8"))["mount"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return mount if isinstance(mount, str) else None
