"""Records: finished work with its files, written whole, never overwritten, read back as it was written."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock

from flare_ray.cache import cache_folder
from flare_ray.errors import refusal
from flare_ray.redaction import redacted
from flare_ray.store.disk import write_new
from flare_ray.store.files import Files
from flare_ray.store.identity import check, identity, known_id
from flare_ray.store.layout import layout_problems
from flare_ray.store.lease import Lease
from flare_ray.store.manifest import RECORD, Damaged, Listed, Manifest, as_json, checksum_of, joined, parted
from flare_ray.store.mounts import mount_problems, remember_mount
from flare_ray.store.reach import problem

_READERS = 16
"""Threads that read records of an object store."""


class Store:
    """Records and files under one root, given as a folder or an fsspec URL (`s3://bucket/study`).

    known: the store's id, which every write looks for first. Raises OtherStore when something else is there.
    """

    def __init__(self, url: str, known: str | None = None):
        self.files = Files(url)
        if known:
            check(self.files, known)
        self.local, self.url = self.files.local, self.files.url
        self.fs, self.root = self.files.fs, self.files.root

    def finished(self, kind: str) -> set[str]:
        """Fingerprints of all whole records of a kind ("runs", "bases", "corpora")."""
        if not self.local:
            ends = (place.split("/") for place in self.files.find(kind))
            return {end[0] for end in ends if len(end) == 2 and end[1] == RECORD}
        folder = f"{self.root}/{kind}"
        return {name for name in self.files.names(kind) if os.path.exists(f"{folder}/{name}/{RECORD}")}

    def has(self, kind: str, fingerprint: str) -> bool:
        """Whether a whole record is there, seen afresh."""
        return self.files.exists(f"{kind}/{fingerprint}/{RECORD}")

    def record(self, kind: str, fingerprint: str) -> dict[str, Any]:
        """A record. Raises FileNotFoundError, Damaged."""
        return self._parted(kind, fingerprint)[0]

    def records(self, kind: str, fingerprints: Collection[str]) -> dict[str, dict[str, Any]]:
        """Many records, read side by side. Raises FileNotFoundError, Damaged."""
        if self.local:
            return {one: self.record(kind, one) for one in fingerprints}
        with ThreadPoolExecutor(_READERS) as pool:
            read = pool.map(lambda one: self.record(kind, one), fingerprints)
            return dict(zip(fingerprints, read, strict=True))

    def write(self, kind: str, fingerprint: str, record: dict[str, Any], files: Path | None = None) -> bool:
        """Keeps a folder of files and a record of them, all or nothing; forgets the failure there was.

        Returns whether this writing is the one that is kept: work that has a record keeps that one. Raises StoreFull.
        """
        place = f"{kind}/{fingerprint}"
        with self.files.space_for(place):
            kept = False
            if not self.has(kind, fingerprint):
                keep = self._keep_folder if self.local else self._keep_objects
                kept = keep(place, record, files)
            self.forget_failure(fingerprint)
        return kept

    def folder(self, kind: str, fingerprint: str) -> Path:
        """The files of a record as a local folder: themselves, or a checked copy in this machine's cache.

        Raises FileNotFoundError for work without a record, Damaged when the files are not what was written.
        """
        _, manifest = self._parted(kind, fingerprint)
        if self.local and not (manifest and manifest.folder):
            return Path(self.root) / kind / fingerprint
        name = f"{fingerprint}-{manifest.token[:8]}" if manifest else fingerprint
        copy = cache_folder() / "store" / blake2b(self.url.encode(), digest_size=6).hexdigest() / kind / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{copy}.lock"):  # the workers of a machine wait for one download
                if not copy.exists():
                    self._copy_to(copy, f"{kind}/{fingerprint}", manifest)
        return copy

    def _copy_to(self, copy: Path, place: str, manifest: Manifest | None) -> None:
        scratch = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
        try:
            self._copy_out(place, manifest, scratch)
            scratch.rename(copy)
        except OSError:
            if not copy.exists():  # else, where locks do not hold, another worker was faster
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def lease(self, name: str, **options: Any) -> Lease:
        """The right to work on something in this store, by which a second driver notices the first (lease.py)."""
        return Lease(self.files, name, **options)

    def place(self, kind: str, fingerprint: str, *parts: str) -> str:
        """The path or URL of something in the store, for people."""
        return self.files.for_people("/".join([kind, fingerprint, *parts]))

    def write_failure(self, fingerprint: str, failure: dict[str, Any]) -> None:
        """Why a run or base failed: label, error, traceback, when, where. Without credentials."""
        shown = {
            name: redacted(value) if isinstance(value, str) else value for name, value in failure.items()
        }
        self.files.write(_failure(fingerprint), as_json(shown))

    def failure(self, fingerprint: str) -> dict[str, Any] | None:
        """The last failure, None when there is none."""
        try:
            return parted(self.files.read(_failure(fingerprint)))[0]
        except FileNotFoundError:
            return None

    def failure_place(self, fingerprint: str) -> str:
        """Where the failure is written, for people."""
        return self.files.for_people(_failure(fingerprint))

    def forget_failure(self, fingerprint: str) -> None:
        """Removes what is written about a failure, if anything."""
        self.files.remove(_failure(fingerprint))

    def write_text(self, place: str, text: str) -> str:
        """A file under the root, written in one piece; returns its path or URL. Raises StoreFull."""
        self.write_bytes(place, text.encode())
        return self.files.for_people(place)

    def write_bytes(self, place: str, content: bytes) -> None:
        """A file under the root, all of it or nothing. Raises StoreFull."""
        self.files.write(place, content)

    def read_bytes(self, place: str) -> bytes:
        """A file under the root. Raises FileNotFoundError."""
        return self.files.read(place)

    def names(self, folder: str) -> list[str]:
        """Sorted names of the whole files in a folder under the root, seen afresh; none where there is no folder."""
        return self.files.names(folder)

    def remove(self, folder: str) -> None:
        """Removes a folder under the root, if it is there."""
        self.files.remove_folder(folder)

    def _parted(self, kind: str, fingerprint: str) -> tuple[dict[str, Any], Manifest | None]:
        return parted(self.files.read(f"{kind}/{fingerprint}/{RECORD}"))

    def _keep_folder(self, place: str, record: dict[str, Any], files: Path | None) -> bool:
        """Makes the whole folder under a name of its own, and then gives it the name by which it is known."""
        with self.files.scratch() as scratch:
            scratch.mkdir()
            listed = self._put_all(files, f"{scratch.parent.name}/{scratch.name}")
            write_new(scratch / RECORD, joined(record, scratch.name, "", listed))
            target = Path(self.files.path(place))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._name(scratch, target)
            except OSError:
                if (
                    self._token(place) == scratch.name
                ):  # NFS: done, but the answer was lost and the call repeated
                    return True
                raise

    def _name(self, scratch: Path, target: Path) -> bool:
        """Renames a whole folder, unless there is one; what a killed writer of an earlier version left gives way."""
        for _ in range(3):
            try:
                os.rename(scratch, target)
                return True
            except OSError:
                if not target.is_dir():
                    raise
            if (target / RECORD).exists():
                return False
            self.files.remove_folder(target.relative_to(self.root).as_posix())
        raise OSError(f"{target} is written by something else")

    def _keep_objects(self, place: str, record: dict[str, Any], files: Path | None) -> bool:
        """Puts the files under a name of this writer's own, and then the record that names them."""
        token = uuid.uuid4().hex
        try:
            listed = self._put_all(files, f"{place}/{token}")
        except BaseException:
            self.files.remove_folder(f"{place}/{token}")
            raise
        # An error of this leaves open whether the record is there: the files stay, and gc sees whether it names them.
        kept = self.files.create(f"{place}/{RECORD}", joined(record, token, token, listed))
        if not kept:
            self.files.remove_folder(f"{place}/{token}")
        return kept

    def _put_all(self, files: Path | None, place: str) -> list[Listed]:
        if files is None:
            return []
        found = sorted(path.relative_to(files) for path in files.rglob("*") if path.is_file())
        found = [path for path in found if path.as_posix() != RECORD]
        if (
            self.local
        ):  # one by one, and not with those above: a scratch folder that gc has removed must not come back
            for folder in sorted({folder for path in found for folder in path.parents} - {Path()}):
                os.mkdir(f"{self.root}/{place}/{folder.as_posix()}")
        return [
            Listed(path.as_posix(), *self.files.put(files / path, f"{place}/{path.as_posix()}"))
            for path in found
        ]

    def _token(self, place: str) -> str | None:
        """Which writing a record is of, as far as it can be told."""
        try:
            manifest = parted(self.files.read(f"{place}/{RECORD}"))[1]
        except (OSError, Damaged):
            return None
        return manifest.token if manifest else None

    def _copy_out(self, place: str, manifest: Manifest | None, target: Path) -> None:
        target.mkdir(parents=True)
        if manifest is None:
            for name in self.files.find(place):
                self.files.fetch(f"{place}/{name}", target / name)
            return
        for file in manifest.files:
            inner = f"{manifest.folder}/{file.path}" if manifest.folder else file.path
            self.files.fetch(f"{place}/{inner}", target / file.path)
            if checksum_of(target / file.path) != file.blake2b:
                where = self.files.for_people(f"{place}/{inner}")
                raise Damaged(f"{where} is not what was written; flare-ray store verify --repair")
        self.files.fetch(f"{place}/{RECORD}", target / RECORD)


def open_store(url: str) -> Store:
    """The store, tried by writing into it, and known by its id from now on: every write looks for that first.

    Raises InputError when it cannot be written or its folders lie elsewhere (layout.py), Unreachable.
    """
    return _tried(url, _prepare)


def _prepare(store: Store) -> None:
    problems = layout_problems(store.files)
    if store.local and not known_id(store.files):
        problems += mount_problems(store.files)
    if problems:
        raise refusal("storage", problems)
    store.write_text(".writable", "")
    identity(store.files)
    remember_mount(store.files)


def read_store(url: str) -> Store:
    """The store, tried by reading; it may be empty. Raises InputError when it cannot be read, Unreachable."""
    return _tried(url, lambda store: store.finished("bases"))


def _tried(url: str, work: Callable[[Store], object]) -> Store:
    try:
        store = Store(url)
        work(store)
    except (OSError, ValueError, ImportError) as error:
        raise refusal("storage", [problem(error, url)]) from error
    return store


def _failure(fingerprint: str) -> str:
    return f"failures/{fingerprint}.json"
