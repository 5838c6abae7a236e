"""The manifest in a record: which files belong to it, how long they are, and their checksums.

`record.json` is the work's record and, under `manifest`:

    {"version": 1, "token": "5c…", "folder": "", "written": 1763870000.0, "record": "ab…",
     "files": [{"path": "predictions.parquet", "bytes": 5124, "blake2b": "9f…"}]}

token: one writing of it. folder: where the files lie beside record.json; on an object store each writer has a folder
of its own, as keys cannot be renamed together. written: Unix time. record: the checksum of the record without its
manifest. Checksums are BLAKE2b of 20 bytes, in hex.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

RECORD = "record.json"
CHECKPOINT = "manifest.json"
"""What makes files of unfinished work a checkpoint (training/checkpoints.py)."""
VERSION = 1
_KEY = "manifest"
_BLOCK = 4 * 2**20
_DIGEST_BYTES = 20


class Damaged(Exception):
    """A record, or a file of one, is not what was written."""


@dataclass(frozen=True)
class Listed:
    """A file of a record. path: relative, with slashes; size in bytes."""

    path: str
    bytes: int
    blake2b: str


@dataclass(frozen=True)
class Manifest:
    """What belongs to a record (see above)."""

    token: str
    folder: str
    written: float
    record: str
    files: tuple[Listed, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


def joined(record: dict[str, Any], token: str, folder: str, files: list[Listed]) -> bytes:
    """The content of record.json. Raises ValueError for a record that cannot hold a manifest or be JSON."""
    if _KEY in record:
        raise ValueError(f"a record has no {_KEY!r} of its own: the store writes it")
    body = json.loads(as_json(record))
    made = Manifest(token, folder, time.time(), _digest_of(body), tuple(files))
    return as_json({**record, _KEY: {"version": VERSION, **asdict(made)}})


def parted(content: bytes) -> tuple[dict[str, Any], Manifest | None]:
    """The record and its manifest, which a record of an earlier version lacks. Raises Damaged."""
    try:
        value = json.loads(content)
        raw = value.pop(_KEY, None)
        if raw is None:
            return value, None
        files = tuple(Listed(**file) for file in raw["files"])
        made = Manifest(raw["token"], raw["folder"], raw["written"], raw["record"], files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{RECORD} cannot be read: {type(error).__name__}: {error}") from error
    return value, made


def same_record(record: dict[str, Any], manifest: Manifest) -> bool:
    """Whether the record is the one that the manifest was written with."""
    return _digest_of(record) == manifest.record


def as_json(value: Any) -> bytes:
    """JSON for people and programs; a half of a surrogate pair, as in broken text, stays an escape."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode(errors="backslashreplace")


def blocks(stream: BinaryIO) -> Iterator[bytes]:
    """A stream in pieces of a few megabytes."""
    while block := stream.read(_BLOCK):
        yield block


def checksum() -> Any:
    """A fresh hash."""
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def checksum_of(file: Path) -> str:
    """A local file's checksum."""
    with file.open("rb") as stream:
        return checksum_of_stream(stream)


def checksum_of_stream(stream: BinaryIO) -> str:
    """The checksum of what is left in a stream."""
    made = checksum()
    for block in blocks(stream):
        made.update(block)
    return made.hexdigest()


def _digest_of(record: dict[str, Any]) -> str:
    made = checksum()
    made.update(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
    return made.hexdigest()
