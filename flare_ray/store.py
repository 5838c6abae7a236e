"""The store: every finished piece of work under its fingerprint, in a folder or an object store.

    bases/<fingerprint>/            model files, then record.json
    runs/<fingerprint>/             predictions.parquet, adapter/, then record.json
    failures/<fingerprint>.json     why a run or base failed last time; removed when it succeeds
    corpora/<fingerprint>/          a machine-translated split: rows.parquet, then record.json
    translations/<translator>/<pair>/   shards of texts and their translations
    reports/<sweep>/                tables

`record.json` is written last and in one piece: work that has one is whole, work that has none does not exist. The
store is the truth; MLflow and the reports are views of it.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import fsspec

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem

RECORD = "record.json"
_UNFINISHED = ".unfinished"


class Store:
    """Records and files under one root, given as a folder or an fsspec URL (`s3://bucket/study`)."""

    def __init__(self, url: str):
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = str(root).rstrip("/")
        protocols = self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        self.local = "file" in protocols
        self.url = self.root if self.local else url  # absolute: processes have working folders of their own

    def finished(self, kind: str) -> set[str]:
        """Fingerprints of all whole records of a kind ("runs" or "bases")."""
        folder = f"{self.root}/{kind}"
        if not self.fs.exists(folder):
            return set()
        if self.local:
            return {entry.name for entry in os.scandir(folder) if Path(entry.path, RECORD).exists()}
        return {path.split("/")[-2] for path in self.fs.glob(f"{folder}/*/{RECORD}")}

    def has(self, kind: str, fingerprint: str) -> bool:
        """Whether a whole record is there, seen afresh."""
        self.fs.invalidate_cache()
        return bool(self.fs.exists(f"{self.root}/{kind}/{fingerprint}/{RECORD}"))

    def record(self, kind: str, fingerprint: str) -> dict[str, Any]:
        """A record. Raises FileNotFoundError."""
        return json.loads(self.fs.cat_file(f"{self.root}/{kind}/{fingerprint}/{RECORD}"))

    def write(self, kind: str, fingerprint: str, record: dict[str, Any], files: Path | None = None) -> None:
        """Keeps a folder of files and then its record; whatever a killed writer left before is replaced."""
        target = f"{self.root}/{kind}/{fingerprint}"
        if files is not None:
            for file in sorted(path for path in files.rglob("*") if path.is_file()):
                place = f"{target}/{file.relative_to(files).as_posix()}"
                self.fs.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
                self._put_whole(file, place)
        self._write_whole(f"{target}/{RECORD}", _json(record))
        self.forget_failure(fingerprint)

    def folder(self, kind: str, fingerprint: str) -> Path:
        """The files of a record as a local folder: themselves, or a copy in this machine's cache."""
        origin = f"{self.root}/{kind}/{fingerprint}"
        if self.local:
            return Path(origin)
        copy = cache_folder() / "store" / kind / fingerprint
        if not copy.exists():
            scratch = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
            scratch.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get(f"{origin}/", f"{scratch}/", recursive=True)
            try:
                scratch.rename(copy)
            except OSError:  # another worker of this machine was faster
                shutil.rmtree(scratch)
        return copy

    def place(self, kind: str, fingerprint: str, *parts: str) -> str:
        """The path or URL of something in the store, for people."""
        return self._for_people("/".join([self.root, kind, fingerprint, *parts]))

    def write_failure(self, fingerprint: str, failure: dict[str, Any]) -> None:
        """Why a run or base failed: label, error, traceback, when, where."""
        self._write_whole(self._failure(fingerprint), _json(failure))

    def failure(self, fingerprint: str) -> dict[str, Any] | None:
        """The last failure, None when there is none."""
        self.fs.invalidate_cache()
        place = self._failure(fingerprint)
        return json.loads(self.fs.cat_file(place)) if self.fs.exists(place) else None

    def failure_place(self, fingerprint: str) -> str:
        """Where the failure is written, for people."""
        return self._for_people(self._failure(fingerprint))

    def forget_failure(self, fingerprint: str) -> None:
        """Removes what is written about a failure, if anything."""
        if self.fs.exists(self._failure(fingerprint)):
            self.fs.rm_file(self._failure(fingerprint))

    def write_text(self, place: str, text: str) -> str:
        """A file under the root, written in one piece; returns its path or URL."""
        self.write_bytes(place, text.encode())
        return self._for_people(f"{self.root}/{place}")

    def write_bytes(self, place: str, content: bytes) -> None:
        """A file under the root, all of it or nothing."""
        self._write_whole(f"{self.root}/{place}", content)

    def read_bytes(self, place: str) -> bytes:
        """A file under the root. Raises FileNotFoundError."""
        return self.fs.cat_file(f"{self.root}/{place}")

    def names(self, folder: str) -> list[str]:
        """Sorted names of the whole files in a folder under the root, seen afresh; none where there is no folder."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(f"{self.root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        names = (place.rstrip("/").rsplit("/", 1)[-1] for place in found)
        return sorted(name for name in names if not name.endswith(_UNFINISHED))

    def remove(self, folder: str) -> None:
        """Removes a folder under the root, if it is there."""
        if self.fs.exists(f"{self.root}/{folder}"):
            self.fs.rm(f"{self.root}/{folder}", recursive=True)

    def _failure(self, fingerprint: str) -> str:
        return f"{self.root}/failures/{fingerprint}.json"

    def _for_people(self, place: str) -> str:
        """A path, or a URL on an object store."""
        return self.fs.unstrip_protocol(place).removeprefix("file://")

    def _put_whole(self, file: Path, place: str) -> None:
        if not self.local:
            self.fs.put_file(str(file), place)
            return
        scratch = Path(f"{place}.{uuid.uuid4().hex}{_UNFINISHED}")
        shutil.copyfile(file, scratch)
        scratch.replace(place)

    def _write_whole(self, place: str, content: bytes) -> None:
        """All of it or nothing: a rename on a file system, one put on an object store."""
        self.fs.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
        if not self.local:
            self.fs.pipe_file(place, content)
            return
        scratch = Path(f"{place}.{uuid.uuid4().hex}{_UNFINISHED}")
        scratch.write_bytes(content)
        scratch.replace(place)


def open_store(url: str) -> Store:
    """The store, tried by writing into it. Raises InputError when it cannot be written."""
    try:
        store = Store(url)
        store.write_text(".writable", "")
    except (OSError, ValueError, ImportError) as error:
        wanted = "a folder that can be written, or an fsspec URL whose driver is installed"
        found = f"{url!r}: {type(error).__name__}: {error}"
        raise InputError("storage", [Problem("storage", found, wanted)]) from error
    return store


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
