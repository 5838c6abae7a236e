"""The manifest in a record: which files belong to it, how long they are, and their checksums.

`record.json` is the work's record and, under `manifest`:

    {"version": 1, "token": "5c…", "folder": "", "written": 1763870000.0, "record": "ab…", "of": "runs/3f…",
     "files": [{"path": "predictions.parquet", "bytes": 5124, "blake2b": "9f…"}], "blake2b": "07…"}

of: the place that the record was written for. blake2b: of the manifest itself. Earlier records have neither and name
their fingerprint themselves.
token: one writing of it. folder: where the files lie beside record.json; on an object store each writer has a folder
of its own, as keys cannot be renamed together. written: Unix time. record: the checksum of the record without its
manifest. Checksums are BLAKE2b of 20 bytes, in hex. Every path in it is relative and stays below the record's folder:
a record is data that others may have written, and decides nowhere what is read or written elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from flare_ray.store.paths import path_problem

RECORD = "record.json"
CHECKPOINT = "manifest.json"
"""What makes files of unfinished work a checkpoint (training/checkpoints.py)."""
VERSION = 1
_KEY, _SEAL = "manifest", "blake2b"
_BLOCK = 4 * 2**20
_DIGEST_BYTES = 20
_TOKEN_DIGITS = 32


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
    of: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


def joined(record: dict[str, Any], token: str, folder: str, files: list[Listed], of: str) -> bytes:
    """The content of record.json. Raises ValueError for a record that cannot hold a manifest or be JSON.

    of: the place that it is written for, `runs/<fingerprint>`.
    """
    if _KEY in record:
        raise ValueError(f"a record has no {_KEY!r} of its own: the store writes it")
    body = json.loads(as_json(record))
    made = Manifest(token, folder, time.time(), _digest_of(body), tuple(files), of)
    fields = json.loads(as_json({"version": VERSION, **asdict(made)}))
    return as_json({**record, _KEY: {**fields, _SEAL: _digest_of(fields)}})


def parted(content: bytes) -> tuple[dict[str, Any], Manifest | None]:
    """The record and its manifest, which a record of an earlier version lacks. Raises Damaged."""
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise TypeError(f"got a {type(value).__name__}; expected an object")
        raw = value.pop(_KEY, None)
        return value, None if raw is None else _parse_manifest(raw)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{RECORD} cannot be read: {type(error).__name__}: {error}") from error


def checked(content: bytes, place: str) -> tuple[dict[str, Any], Manifest | None]:
    """Return the record and its manifest if they are what was written for this place. Raises Damaged.

    place: `runs/<fingerprint>`. A record of an earlier version, without a manifest, has to name its fingerprint.
    """
    record, manifest = parted(content)
    if manifest and not same_record(record, manifest):
        raise Damaged(f"{RECORD} is not what was written (checksum)")
    name = place.rpartition("/")[2]
    if manifest and manifest.of:
        if manifest.of != place:
            raise Damaged(f"{RECORD} was written for {manifest.of}")
    elif record.get("fingerprint") != name and (manifest is None or "fingerprint" in record):
        raise Damaged(f"{RECORD} is of {str(record.get('fingerprint', 'no fingerprint'))[:40]}")
    return record, manifest


def _parse_manifest(raw: Any) -> Manifest:
    """Return the manifest. Raises ValueError, TypeError or KeyError for one that the store cannot have written."""
    seal = raw.pop(_SEAL, None)
    if seal is not None and seal != _digest_of(raw):
        raise ValueError("the manifest is not what was written (checksum)")
    files = tuple(Listed(**file) for file in raw["files"])
    for file in files:
        if problem := path_problem(file.path):
            raise ValueError(f"the path of a file: {problem}")
        if type(file.bytes) is not int or file.bytes < 0 or not _is_hex(file.blake2b, 2 * _DIGEST_BYTES):
            raise ValueError(f"{file.path}: got {file.bytes!r} bytes, checksum {file.blake2b!r}")
    manifest = Manifest(raw["token"], raw["folder"], raw["written"], raw["record"], files, raw.get("of", ""))
    if manifest.folder not in ("", manifest.token) or (
        manifest.folder and not _is_hex(manifest.folder, _TOKEN_DIGITS)
    ):
        raise ValueError(f"the folder of the files: got {manifest.folder!r}; expected the writer's token")
    if not _is_hex(manifest.record, 2 * _DIGEST_BYTES) or not isinstance(manifest.of, str):
        raise ValueError(f"got the checksum {manifest.record!r} of {manifest.of!r}")
    if not isinstance(manifest.written, int | float) or not math.isfinite(manifest.written):
        raise ValueError(f"the time of writing: got {manifest.written!r}")
    return manifest


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def same_record(record: dict[str, Any], manifest: Manifest) -> bool:
    """Whether the record is the one that the manifest was written with."""
    return _digest_of(record) == manifest.record


def seal(value: dict[str, Any]) -> bytes:
    """Return a JSON object as a file that has its checksum in it; `unseal` gives the object back."""
    body = json.loads(as_json(value))
    return as_json({**body, _SEAL: _digest_of(body)})


def unseal(content: bytes) -> Any:
    """Return the object that was sealed, or the JSON value of an earlier version, without a seal. Raises Damaged."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"cannot be read: {type(error).__name__}: {error}") from error
    if isinstance(value, dict) and (seal := value.pop(_SEAL, None)) is not None and _digest_of(value) != seal:
        raise Damaged("is not what was written (checksum)")
    return value


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


def _digest_of(record: Any) -> str:
    made = checksum()
    made.update(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
    return made.hexdigest()
