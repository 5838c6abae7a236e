"""The names that a store gives to what it keeps, and the folders that must lie in one place with it.

    is_own("runs/0f3a…")                    # True for 20 hex digits: a fingerprint
    layout_problems(store.files)            # a link or another disk in the place of runs/

What has another name in a store's folder is not the store's: it is named, and neither checked nor removed. Nothing is
reached through a symbolic link: a record is given its name by a rename, which works on one disk only, and a link can
lead anywhere.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from flare_ray.errors import Problem
from flare_ray.store.disk import mounts_below
from flare_ray.store.files import SCRATCH, Files

FINGERPRINT = r"[0-9a-f]{20}"
TOKEN = r"[0-9a-f]{32}"
WORK_KINDS = ("bases", "corpora", "runs")
"""Kinds whose entries are records of a sweep's work."""
RECORD_KINDS = (*WORK_KINDS, "hub")
"""Kinds whose entries are records."""
_TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"
_ANY = r"[^/]+"
_NAMES = {
    "bases": FINGERPRINT,
    "corpora": FINGERPRINT,
    "runs": FINGERPRINT,
    "hub": TOKEN,
    "failures": rf"{FINGERPRINT}\.json",
    "checkpoints": FINGERPRINT,
    "translations": FINGERPRINT,
    "worklists": FINGERPRINT,
    "searches": FINGERPRINT,
    "diffs": rf"{FINGERPRINT}\.patch",
    "ray": _TIME,
    "reports": _ANY,
    "leases": _ANY,
    "quarantine": _ANY,
    SCRATCH: TOKEN,
    ".preflight": TOKEN,
    "mlflow-artifacts": _ANY,
    "": r"\.store|\.writable|(optuna|mlflow)\.db(-journal|-wal|-shm)?",
}
"""What a name looks like, by kind; of the kind "" are files beside the kinds' folders."""
_FILES = ("failures", "diffs", "")
"""Kinds whose entries are files; those of all others are folders."""
_LEFT_OVER = re.compile(rf"(?P<of>.+)\.{TOKEN}{re.escape(SCRATCH)}")
"""A file being written by an earlier version: `<file>.<32 hex digits>.unfinished`, beside the file."""
KINDS = tuple(kind for kind in _NAMES if kind not in ("", "mlflow-artifacts"))
"""Folders of a store, through which it reads and writes."""


VIEWS = ("diffs", "reports")
"""Folders of what only shows the work, and can be made again."""
_NO_FOLDER = "is no folder"


def is_own(place: str, is_file: bool) -> bool:
    """Return whether the store itself can have named an entry so: `<kind>/<name>`, or a file at the root."""
    kind, _, name = place.rpartition("/")
    if kind not in _NAMES:
        return False
    if is_file and (left_over := _LEFT_OVER.fullmatch(name)):
        name = left_over["of"]
    return is_file == (kind in _FILES) and re.fullmatch(_NAMES[kind], name) is not None


def is_left_over(name: str) -> bool:
    """Return whether a killed writer of an earlier version left a file of this name."""
    return _LEFT_OVER.fullmatch(name) is not None


def misplaced_kinds(files: Files) -> dict[str, str]:
    """Return the kinds whose folders do not lie in the store itself, and what lies there; none on an object store."""
    if not files.local:
        return {}
    root = Path(files.root)
    try:
        device = root.stat().st_dev
    except OSError:  # not there yet, or out of reach: opening it reports that
        return {}
    mounts, misplaced = mounts_below(files.root), dict[str, str]()
    for kind in KINDS:
        path = root / kind
        try:
            status = path.lstat()
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode):
            misplaced[kind] = f"is a symbolic link to {os.readlink(path)}"
        elif not stat.S_ISDIR(status.st_mode):
            misplaced[kind] = _NO_FOLDER
        elif status.st_dev != device or kind in mounts:
            misplaced[kind] = "is a mount of its own"
    return misplaced


REMEDY = "link or mount the whole storage folder, not a part of it"
"""Finished work is renamed into its place, which works on one disk only; behind a link nothing checks it."""


def layout_problems(files: Files) -> list[Problem]:
    """Return what is wrong with the places of a store's folders; a file in the place of `VIEWS` is nothing."""
    return [
        Problem(
            "storage", f"{files.path(kind)}, which {what}", f"a folder on the storage's own disk: {REMEDY}"
        )
        for kind, what in misplaced_kinds(files).items()
        if not (kind in VIEWS and what == _NO_FOLDER)
    ]
