"""Inspection of records: what a store holds is believed after it was checked, and only then.

    inspector = Inspector(files)
    inspector.problem("runs", fingerprint)   # None: sound. Raises FileNotFoundError where there is not a record
    inspector.problems("runs")               # {fingerprint: None or what is wrong}

A record is sound when it is a real file in a real folder, is the one that its manifest was written with, was written
for the place that it lies in, and each of its files is there with its size. What the files contain is checked when
they are read (records.py), and all of it by `flare-ray store verify`. A record is read once per process, as long as
its inode, size and times stay the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flare_ray.store.disk import Info
from flare_ray.store.files import Files
from flare_ray.store.manifest import RECORD, Damaged, Manifest, checked

_READERS = 32
"""Threads that read records of an object store."""
_Signature = tuple[Any, ...]


class Inspector:
    """What this process knows of the records under one root."""

    def __init__(self, files: Files):
        self.files = files
        self._known: dict[str, tuple[_Signature, Manifest | None]] = {}

    def problems(self, kind: str) -> dict[str, str | None]:
        """Return every record of a kind ("runs", "bases", …) with what is wrong with it, None for a sound one."""
        if not self.files.local:
            return self._remote_problems(kind)
        problems: dict[str, str | None] = {}
        for name in self.files.names(kind):
            try:
                problems[name] = self.problem(kind, name)
            except FileNotFoundError:
                continue
        return problems

    def problem(self, kind: str, name: str) -> str | None:
        """Return what is wrong with a record; None for a sound one. Raises FileNotFoundError where there is none."""
        try:
            if self.files.local:
                self._inspect_folder(f"{kind}/{name}")
            else:
                self._inspect_objects(f"{kind}/{name}", self.files.find(f"{kind}/{name}"))
        except Damaged as error:
            return str(error)
        return None

    def _inspect_folder(self, place: str) -> None:
        folder = self.files.path(place)
        _expect_folder(folder, os.path.basename(folder))
        status = os.lstat(f"{folder}/{RECORD}")
        if not stat.S_ISREG(status.st_mode):
            raise Damaged(f"{RECORD} is not a regular file")
        signature = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        manifest = self._manifest(place, signature)
        inner = f"{folder}/{manifest.folder}" if manifest and manifest.folder else folder
        for inner_folder in sorted(_folders_of(manifest)):
            _expect_folder(f"{inner}/{inner_folder}", inner_folder)
        for file in manifest.files if manifest else ():
            try:
                actual = os.lstat(f"{inner}/{file.path}")
            except FileNotFoundError:
                raise Damaged(f"{file.path} is missing") from None
            if not stat.S_ISREG(actual.st_mode):
                raise Damaged(f"{file.path} is not a regular file")
            _expect_size(file.path, actual.st_size, file.bytes)

    def _inspect_objects(self, place: str, there: Mapping[str, Info]) -> None:
        if RECORD not in there:
            raise FileNotFoundError(f"{place}/{RECORD}")
        info = there[RECORD]
        manifest = self._manifest(place, (info.bytes, info.modified))
        for file in manifest.files if manifest else ():
            path = f"{manifest.folder}/{file.path}" if manifest and manifest.folder else file.path
            if path not in there:
                raise Damaged(f"{file.path} is missing")
            _expect_size(file.path, there[path].bytes, file.bytes)

    def _manifest(self, place: str, signature: _Signature) -> Manifest | None:
        """Return a record's manifest after checking the record. Raises Damaged."""
        known = self._known.get(place)
        if known is None or known[0] != signature:
            _, manifest = checked(self.files.read(f"{place}/{RECORD}"), place)
            known = self._known[place] = (signature, manifest)
        return known[1]

    def _remote_problems(self, kind: str) -> dict[str, str | None]:
        entries: dict[str, dict[str, Info]] = {}
        for path, info in self.files.find(kind).items():
            name, _, inner = path.partition("/")
            entries.setdefault(name, {})[inner] = info
        recorded = sorted(name for name, there in entries.items() if RECORD in there)

        def inspect(name: str) -> str | None:
            try:
                self._inspect_objects(f"{kind}/{name}", entries[name])
            except Damaged as error:
                return str(error)
            except FileNotFoundError:  # removed since it was listed
                return "was removed"
            return None

        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(recorded, pool.map(inspect, recorded), strict=True))


def _folders_of(manifest: Manifest | None) -> set[str]:
    """Return every folder that a record's files lie in, as paths below the record's."""
    paths = (file.path.split("/") for file in (manifest.files if manifest else ()))
    return {"/".join(parts[:depth]) for parts in paths for depth in range(1, len(parts))}


def _expect_folder(path: str, shown: str) -> None:
    """Raise Damaged unless a path is a folder itself, and FileNotFoundError where nothing is."""
    try:
        mode = os.lstat(path).st_mode
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, path) from error
    if not stat.S_ISDIR(mode):
        raise Damaged(f"{shown} is {'a symbolic link' if stat.S_ISLNK(mode) else 'not a folder'}")


def _expect_size(path: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise Damaged(f"{path} has {actual} bytes instead of {expected}")
