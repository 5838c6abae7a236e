"""Errors of the surroundings (disk, permissions, memory, databases) as problems with a place and a remedy.

    problem = problem_of(error)   # None for a bug of this package: that one keeps its traceback

Whether an error may pass by itself decides the exit code (errors.py): a full disk or a busy device may, a missing
permission or a name that is too long does not.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.store import StoreFull, StoreRefused
from flare_ray.store.disk import FULL
from flare_ray.store.patience import causes, passes

_DENIED = (errno.EACCES, errno.EPERM)
_REMEDIES = {
    errno.EROFS: "a file system that is mounted for writing, or another folder",
    errno.ENOENT: "a file or folder that is there",
    errno.ENOTDIR: "a folder, and no file in the place of one",
    errno.EISDIR: "a file, and no folder in its place",
    errno.EEXIST: "another name, or remove what is there",
    errno.ENOTEMPTY: "another name, or remove what is there",
    errno.ENAMETOOLONG: "a shorter path",
    errno.ELOOP: "a path without a circle of links",
    errno.EXDEV: "one file system: no link and no mount in the place of a folder of the store",
    errno.EMFILE: "a higher limit of open files: ulimit -n",
    errno.ENFILE: "fewer open files on this machine, or start again later",
    errno.EFBIG: "a higher limit of file sizes: ulimit -f",
}
_NO_HOME = "Could not determine home directory"  # pathlib's words
_PASSING = (*FULL, errno.ENFILE, errno.ENOLCK, errno.EINTR)
_DATABASE_PASSES = ("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR")
_DATABASE_LASTS = (
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_PERM",
    "SQLITE_AUTH",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
)


def problem_of(error: BaseException) -> Problem | None:
    """Return what is wrong with the surroundings by an error or what it was raised from; None for a bug."""
    for cause in causes(error):
        if isinstance(cause, MemoryError):
            return _of_memory(str(cause))
        if isinstance(cause, OSError):
            return _of_os(cause)
        if isinstance(cause, RuntimeError) and str(cause).startswith(_NO_HOME):
            return Problem("HOME", str(cause), "HOME: a folder that can be written")
        if isinstance(cause, sqlite3.Error) and (problem := _of_database(cause)):
            return problem
    return None


def is_refused(error: OSError) -> bool:
    """Return whether a place is there to be read only: mounted so, or without permission to write."""
    return error.errno in (*_DENIED, errno.EROFS) or isinstance(error, StoreRefused)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an error of the system that names no file, as those of writing, the path of the one that it is about."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def describe_denial(path: Path) -> str:
    """Return who may not do it, and whose the folder or file is that forbids it."""
    absolute = path.absolute()
    while not os.path.lexists(absolute) and absolute != absolute.parent:
        absolute = absolute.parent
    who = f"this process is uid {os.geteuid()}, gid {os.getegid()}"
    try:
        status = absolute.stat()
    except OSError:
        return who
    return f"{absolute} is of uid {status.st_uid}, gid {status.st_gid}, mode {status.st_mode & 0o7777:04o}; {who}"


def _of_os(error: OSError) -> Problem:
    code = error.errno
    if code == errno.ENOMEM:
        return _of_memory(str(error))
    paths = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = " → ".join(paths) or ("storage" if isinstance(error, StoreFull) else "this machine")
    got = f"{type(error).__name__}: {error.strerror or error}"
    path = Path(paths[-1]) if paths else None
    if code in FULL:
        return Problem(where, got + _free(path), f"free space there{_elsewhere(path)}", passes=True)
    if code in _DENIED:
        got += f" ({describe_denial(path)})" if path else ""
        return Problem(where, got, f"permission to use it (chmod, chown){_elsewhere(path)}")
    if code in _REMEDIES:
        return Problem(where, got, _REMEDIES[code] + _elsewhere(path), passes=code in _PASSING)
    may_pass = code in _PASSING or passes(error)
    remedy = "a disk or service that answers: start again later" if may_pass else "what makes this possible"
    return Problem(where, got, remedy, passes=may_pass)


def _of_memory(words: str) -> Problem:
    """Return that there is no memory: wrong where a limit was set, else other programs may give some back."""
    import resource

    limits = {"-v": resource.RLIMIT_AS, "-d": resource.RLIMIT_DATA}
    own = {flag: resource.getrlimit(kind)[0] for flag, kind in limits.items()}
    got = f"no memory left{f': {words}' if words else ''}"
    for flag, limit in own.items():
        if limit != resource.RLIM_INFINITY:
            got += f", with a limit of {limit / 2**20:.0f} MiB (ulimit {flag})"
            return Problem("memory", got, f"a higher limit: ulimit {flag} unlimited")
    return Problem("memory", got, "fewer other programs, or a machine with more", passes=True)


def _of_database(error: sqlite3.Error) -> Problem | None:
    """Return what is wrong with the file of a SQLite database; None for a wrong query."""
    name = getattr(error, "sqlite_errorname", None) or ""
    got = f"{type(error).__name__}: {error} ({name})"
    if name.startswith(_DATABASE_PASSES):
        return Problem("database", got, "free space, and no other program that locks it", passes=True)
    if name.startswith(_DATABASE_LASTS) or "not a database" in str(error):
        expected = (
            "a SQLite file that can be read and written; move it away, and it is made anew from the store"
        )
        return Problem("database", got, expected)
    return None


def _elsewhere(path: Path | None) -> str:
    """Return which setting names another folder than that of a path."""
    if path is None:
        return ""
    absolute, cache = path.absolute(), _cache()
    if cache and (
        absolute.is_relative_to(cache) or cache.is_relative_to(absolute)
    ):  # also a folder above that is not there
        return ", or FLARE_RAY_CACHE: another folder"
    if absolute.is_relative_to(_temporary()):
        return ", or TMPDIR: another folder"
    home = Path(os.path.expanduser("~"))
    hidden = home.is_absolute() and absolute.is_relative_to(home) and absolute != home
    if hidden and absolute.relative_to(home).parts[0].startswith("."):
        return ", or HOME: a folder that can be written"
    return ""


def _cache() -> Path | None:
    try:
        return cache_folder().absolute()
    except InputError:
        return None


def _temporary() -> Path:
    """Return the folder of temporary files; the usual one where none can be written."""
    try:
        return Path(tempfile.gettempdir()).absolute()
    except OSError:
        return Path("/tmp")


def _free(path: Path | None) -> str:
    """Return how much space is left at a path; nothing where that cannot be known."""
    folder: Any = path.absolute() if path else None
    while folder and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return f"; {shutil.disk_usage(folder).free:,} bytes are free there" if folder else ""
    except OSError:
        return ""
