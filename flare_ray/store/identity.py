"""Which store it is: an id at its root, by which a process notices that it sees another folder in the same place.

known = identity(store.files)   # in the driver: from now on every write looks for the id first (guard.py)
check(store.files, known)       # the same on every node
"""

from __future__ import annotations

import os
import re
import stat
import time
import uuid

from flare_ray.errors import InputError, Problem
from flare_ray.store.files import Files
from flare_ray.store.guard import Guard, OtherStore

__all__ = ["PLACE", "OtherStore", "check", "identity", "known_id", "require_identity"]
PLACE = ".store"
_ID = re.compile(r"[0-9a-f]{32}")
_LOOKS, _PAUSE = 20, 0.1  # at a file that another process creates, where a file is seen before its content


def identity(files: Files) -> str:
    """Return the store's id, which its first user gives it; every write is guarded by it from now on.

    Raises InputError where something else has the place of the id, OtherStore when it has been another one.
    """
    if files.guard is None:
        if (known := known_id(files)) is None:
            files.create(PLACE, uuid.uuid4().hex.encode())
            known = _created_id(files)
        _guard(files, known)
    files.check()
    assert files.guard is not None
    return files.guard.known


def check(files: Files, known: str) -> None:
    """Guard every write by an id. Raises OtherStore when this node does not see that store."""
    _guard(files, known)
    files.check()


def known_id(files: Files) -> str | None:
    """Return the id that a store has; None where there is none. Raises InputError for something else in its place."""
    try:
        if files.local and not stat.S_ISREG(os.lstat(files.path(PLACE)).st_mode):
            raise _refusal(files, "a link, a folder or a pipe")
        content = files.read(PLACE).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if content and not _ID.fullmatch(content):
        raise _refusal(files, repr(content[:40]))
    return content or None


def require_identity(files: Files) -> str:
    """Return the id of a store, and guard every write by it. Raises InputError for a folder that is not a store."""
    known = known_id(files)
    if known is None:
        got = f"{files.url}, which has no id of a store ({PLACE})"
        remedy = (
            "a store of flare-ray; nothing was touched. An earlier version's store gets its id from "
            "`flare-ray doctor SWEEP.yaml` or `run`, with the sweep whose storage it is"
        )
        raise InputError("store", [Problem("STORAGE", got, remedy)])
    check(files, known)
    return known


def _created_id(files: Files) -> str:
    """Return the id that this process or another one has just given; an empty file is one that nobody finished."""
    for _ in range(_LOOKS):
        if known := known_id(files):
            return known
        time.sleep(_PAUSE)
    files.write(PLACE, uuid.uuid4().hex.encode())
    return files.read(PLACE).decode()


def _guard(files: Files, known: str) -> None:
    file = files.path(PLACE) if files.local else None
    files.guard = Guard(files.url, known, file, lambda: files.read(PLACE))


def _refusal(files: Files, got: str) -> InputError:
    expected = "the store's id, 32 hex digits: name another folder, or move the file away if no store is here"
    return InputError("storage", [Problem("storage", f"{got} at {files.for_people(PLACE)}", expected)])
