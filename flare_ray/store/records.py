"""Records: finished work with its files, written whole, never overwritten, read back as it was written."""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flare_ray.errors import refusal
from flare_ray.redaction import redacted
from flare_ray.store.copies import local_folder
from flare_ray.store.disk import write_new
from flare_ray.store.files import Files
from flare_ray.store.identity import check, identity, known_id
from flare_ray.store.inspection import Inspector
from flare_ray.store.layout import layout_problems
from flare_ray.store.lease import Lease
from flare_ray.store.manifest import (
    RECORD,
    Damaged,
    Listed,
    Manifest,
    checked,
    checksum_of_stream,
    joined,
    parted,
    seal,
    unseal,
)
from flare_ray.store.mounts import mount_problems, remember_mount
from flare_ray.store.reach import problem

_READERS = 16
"""Threads that read records of an object store."""
_LARGEST_TIME = 1e11
"""Unix time of no failure; MLflow cannot take one."""


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
        self._inspector = Inspector(self.files)

    def finished(self, kind: str) -> set[str]:
        """Return the fingerprints of all sound records of a kind ("runs", "bases", "corpora"); see inspection.py."""
        return {name for name, problem in self._inspector.problems(kind).items() if problem is None}

    def damaged(self, kind: str) -> dict[str, str]:
        """Return the records of a kind that are not what was written, with what is wrong with each."""
        problems = self._inspector.problems(kind).items()
        return {name: problem for name, problem in problems if problem is not None}

    def has(self, kind: str, fingerprint: str) -> bool:
        """Return whether a sound record is there, seen afresh."""
        try:
            return self._inspector.problem(kind, fingerprint) is None
        except FileNotFoundError:
            return False

    def record(self, kind: str, fingerprint: str) -> dict[str, Any]:
        """A record. Raises FileNotFoundError, Damaged."""
        return self.read_record(kind, fingerprint)[0]

    def read_record(self, kind: str, fingerprint: str) -> tuple[dict[str, Any], Manifest | None]:
        """Return a record and its manifest, both checked. Raises FileNotFoundError, Damaged."""
        path = f"{kind}/{fingerprint}"
        return checked(self.files.read(f"{path}/{RECORD}"), path)

    def records(self, kind: str, fingerprints: Collection[str]) -> dict[str, dict[str, Any]]:
        """Many records, read side by side. Raises FileNotFoundError, Damaged."""
        if self.local:
            return {one: self.record(kind, one) for one in fingerprints}
        with ThreadPoolExecutor(_READERS) as pool:
            read = pool.map(lambda one: self.record(kind, one), fingerprints)
            return dict(zip(fingerprints, read, strict=True))

    def read_file(self, kind: str, fingerprint: str, path: str) -> bytes | None:
        """Return the content of a record's file, None where it has none of that name.

        Raises FileNotFoundError, and Damaged for what is not what was written.
        """
        return self.read_listed(f"{kind}/{fingerprint}", self.read_record(kind, fingerprint)[1], path)

    def read_listed(self, place: str, manifest: Manifest | None, path: str) -> bytes | None:
        """Return what `read_file` does, for a record whose manifest was read before. place: `runs/<fingerprint>`."""
        if manifest is None:
            file = f"{place}/{path}"
            return self.files.read(file) if self.files.exists(file) else None
        listed = next((entry for entry in manifest.files if entry.path == path), None)
        if listed is None:
            return None
        inner = f"{place}/{manifest.folder}/{path}" if manifest.folder else f"{place}/{path}"
        try:
            content = self.files.read(inner)
        except FileNotFoundError:
            raise Damaged(f"{self.files.for_people(inner)} is missing") from None
        if len(content) != listed.bytes or checksum_of_stream(io.BytesIO(content)) != listed.blake2b:
            raise Damaged(f"{self.files.for_people(inner)} is not what was written (checksum)")
        return content

    def quarantine(self, place: str, is_file: bool = False) -> str | None:
        """Move what is damaged out of the way, so that it is made again; its new place, None where it was gone.

        place: `runs/<fingerprint>`, or a file.
        """
        target = f"quarantine/{place}.{time.time_ns()}"
        try:
            (self.files.move if is_file else self.files.move_folder)(place, target)
        except FileNotFoundError:
            return None
        return self.files.for_people(target)

    def write(self, kind: str, fingerprint: str, record: dict[str, Any], files: Path | None = None) -> bool:
        """Keeps a folder of files and a record of them, all or nothing; forgets the failure there was.

        Returns whether this writing is the one that is kept: work that has a sound record keeps that one; a damaged
        one goes to quarantine. Raises StoreFull.
        """
        place = f"{kind}/{fingerprint}"
        with self.files.space_for(place):
            if is_kept := self._makes_way(kind, fingerprint):
                keep = self._keep_folder if self.local else self._keep_objects
                is_kept = keep(place, record, files)
            self.forget_failure(fingerprint)
        return is_kept

    def folder(self, kind: str, fingerprint: str) -> Path:
        """The files of a record as a local folder: themselves, or a copy in this machine's cache; both checked.

        Each file is read once per machine as long as it does not change (digests.py). Raises FileNotFoundError for
        work without a record, Damaged when the files are not what was written.
        """
        _, manifest = self.read_record(kind, fingerprint)
        return local_folder(self.files, f"{kind}/{fingerprint}", manifest)

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
        self.write_json(_failure(fingerprint), shown)

    def failure(self, fingerprint: str) -> dict[str, Any] | None:
        """The last failure, None when there is none. One that cannot be read is of the kind that is tried again."""
        try:
            failure = self.read_json(_failure(fingerprint))
            if not _is_failure(failure):
                raise Damaged("is no failure")
        except FileNotFoundError:
            return None
        except Damaged as error:
            why = f"what was written about the failure is damaged: {error}"
            return {"fingerprint": fingerprint, "label": fingerprint, "kind": "io", "error": why}
        return dict(failure)

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

    def write_json(self, place: str, value: dict[str, Any]) -> None:
        """Write a JSON object with its checksum, all of it or nothing. Raises StoreFull."""
        self.files.write(place, seal(value))

    def read_json(self, place: str) -> Any:
        """Return what `write_json` wrote, or the JSON of an earlier version. Raises FileNotFoundError, Damaged."""
        return unseal(self.files.read(place))

    def read_bytes(self, place: str) -> bytes:
        """A file under the root. Raises FileNotFoundError."""
        return self.files.read(place)

    def names(self, folder: str) -> list[str]:
        """Sorted names of the whole files in a folder under the root, seen afresh; none without such a folder."""
        return self.files.names(folder)

    def remove(self, folder: str) -> None:
        """Removes a folder under the root, if it is there."""
        self.files.remove_folder(folder)

    def _makes_way(self, kind: str, fingerprint: str) -> bool:
        """Return whether there is no sound record, after what is damaged in its place has gone to quarantine.

        One look decides: another writer's record that comes after it is sound, and wins (`_name`, `create`).
        """
        try:
            problem = self._inspector.problem(kind, fingerprint)
        except FileNotFoundError:
            return True
        if problem is not None:
            self.quarantine(f"{kind}/{fingerprint}")
        return problem is not None

    def _keep_folder(self, place: str, record: dict[str, Any], files: Path | None) -> bool:
        """Makes the whole folder under a name of its own, and then gives it the name by which it is known."""
        with self.files.scratch() as scratch:
            scratch.mkdir()
            listed = self._put_all(files, f"{scratch.parent.name}/{scratch.name}")
            write_new(scratch / RECORD, joined(record, scratch.name, "", listed, place))
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
            if os.path.lexists(target / RECORD):
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
        kept = self.files.create(f"{place}/{RECORD}", joined(record, token, token, listed, place))
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
    return _tried(url, lambda store: store.names("bases") if store.local else store.files.find("bases"))


def _tried(url: str, work: Callable[[Store], object]) -> Store:
    try:
        store = Store(url)
        work(store)
    except (OSError, ValueError, ImportError) as error:
        raise refusal("storage", [problem(error, url)]) from error
    return store


def _is_failure(value: Any) -> bool:
    """Return whether a value of JSON is a failure, of the types that are read of one."""
    if not isinstance(value, dict) or not isinstance(value.get("error"), str):
        return False
    at = value.get("at", 0.0)
    is_time = isinstance(at, int | float) and not isinstance(at, bool) and abs(at) < _LARGEST_TIME
    texts = all(isinstance(value.get(name, ""), str) for name in ("kind", "label", "traceback"))
    return is_time and texts and isinstance(value.get("provenance", {}), dict)


def _failure(fingerprint: str) -> str:
    return f"failures/{fingerprint}.json"
