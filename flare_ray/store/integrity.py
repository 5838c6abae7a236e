"""Whether a store still holds what was written: records, their files' checksums, and that those files open.

    checked = verify(store)
    for finding in checked.findings: print(finding.place, finding.what)
    quarantine(store, checked.findings)  # the next sweep makes that work again

Records are compared with their place, their checksum, their files and, by `scores`, with their predictions; what
searches and checkpoints keep with its checksum. A record of an earlier version has no checksums: only the headers of
its files are tried.
"""

from __future__ import annotations

import io
import json
import logging
import os
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from flare_ray.store.addressed import check_addressed
from flare_ray.store.disk import Info
from flare_ray.store.files import SCRATCH
from flare_ray.store.inventory import Entry, Inventory
from flare_ray.store.layout import KINDS, RECORD_KINDS, REMEDY, is_own, misplaced_kinds
from flare_ray.store.manifest import (
    RECORD,
    Damaged,
    Listed,
    Manifest,
    checked,
    checksum_of_stream,
    unseal,
)
from flare_ray.store.patience import is_no_damage
from flare_ray.store.reach import StoreAway
from flare_ray.store.records import Store

log = logging.getLogger(__name__)
_IN_MEMORY = 64 * 2**20
"""Bytes up to which a remote file is read at once, and not in pieces from a connection of its own."""
_REMOTE_THREADS = 16
_SHARDS = "translations"
_OTHER_KINDS = ("checkpoints", "failures", "searches", _SHARDS)
"""Folders of files that are not records and are read back."""


@dataclass(frozen=True, order=True)
class Finding:
    """Something damaged. entry: what has to go for it: a whole record, or one file. place: for people.

    is_certain: False where a disk could not be read: that may pass, and nothing is moved for it.
    """

    entry: str
    place: str
    what: str
    is_record: bool
    is_certain: bool = True


@dataclass(frozen=True)
class Checked:
    """How much was looked at, and what was found. bytes: of all files of the entries."""

    records: int
    files: int
    bytes: int
    findings: tuple[Finding, ...]


Scores = Callable[[str, str], str | None]
"""What is wrong with a record's scores, by its kind and fingerprint; None where nothing is or can be computed."""


def verify(
    store: Store,
    there: Inventory | None = None,
    kinds: Collection[str] | None = None,
    scores: Scores | None = None,
) -> Checked:
    """Checks every record (of some kinds, or all), and what is not a record but has to be read back, side by side."""
    there = there or Inventory.of(store)
    wanted = [kind for kind in there.kinds if kinds is None or kind in kinds]
    entries = [
        entry
        for kind in wanted
        for entry in there.own(kind)
        if (entry.whole and kind in there.record_kinds) or kind in _OTHER_KINDS
    ]
    threads = min(8, os.cpu_count() or 1) if store.local else _REMOTE_THREADS
    with ThreadPoolExecutor(threads) as pool:
        found = [
            one
            for some in pool.map(lambda entry: list(_findings(store, entry, scores)), entries)
            for one in some
        ]
    found += _unlisted(store, wanted, found)
    return Checked(
        records=sum(entry.whole for entry in entries),
        files=sum(len(entry.files) for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
        findings=tuple(sorted({*found, *_misplaced(store, there, kinds)})),
    )


def quarantine(store: Store, findings: Collection[Finding]) -> dict[str, str]:
    """Moves what is damaged out of the way; where each entry is now. What cannot be moved stays where it is."""
    moved = {}
    certain = {(finding.entry, finding.is_record) for finding in findings if finding.is_certain}
    for entry, is_record in sorted(certain):
        if entry in KINDS:  # a link in the place of a kind's folder: its owner knows what it is for
            continue
        try:
            target = store.quarantine(entry, is_file=not is_record)
        except StoreAway:
            raise
        except OSError as error:
            log.warning("%s: not moved: %s", entry, error)
            continue
        if target is None:
            log.warning("%s: not moved: it is not there any more", entry)
        else:
            moved[entry] = target
    return moved


def _unlisted(store: Store, kinds: Collection[str], found: Collection[Finding]) -> Iterator[Finding]:
    """Yield records that are damaged and that a listing of files does not show: folders and links in their place."""
    known = {finding.entry for finding in found}
    for kind in kinds:
        for name, problem in store.damaged(kind).items() if kind in RECORD_KINDS else ():
            entry = f"{kind}/{name}"
            if entry not in known and is_own(entry, is_file=False):
                yield Finding(entry, store.place(kind, name, RECORD), problem, is_record=True)


def _misplaced(store: Store, there: Inventory, kinds: Collection[str] | None) -> Iterator[Finding]:
    """Yield what counts as finished work for a reader and does not lie in the store: links, pipes, mounts."""
    for kind, problem in misplaced_kinds(store.files).items():
        if kinds is None or kind in kinds:
            yield Finding(kind, store.files.for_people(kind), f"{problem}: {REMEDY}", is_record=False)
    for entry in there.misplaced:
        if kinds is None or entry.kind in kinds:
            what = (
                "is, or has in it, what the store does not make: a link, a pipe, a mount, a file for a folder"
            )
            yield Finding(entry.place, store.files.for_people(entry.place), what, not entry.is_file)


def _findings(store: Store, entry: Entry, scores: Scores | None) -> Iterator[Finding]:
    if entry.whole:
        for inner, what, is_certain in _record_findings(store, entry, scores):
            place = store.files.for_people(f"{entry.place}/{inner}")
            yield Finding(entry.place, place, what, True, is_certain)
        return
    if entry.kind == "failures" and not entry.is_file:
        yield Finding(entry.place, store.files.for_people(entry.place), "is not a file", is_record=False)
        return
    for inner, info in entry.files.items():
        place = f"{entry.place}/{inner}" if inner else entry.place
        problem = None if place.endswith(SCRATCH) else _problem(store, place, info.bytes, None)
        if problem:
            yield Finding(place, store.files.for_people(place), problem[0], False, problem[1])


def _record_findings(store: Store, entry: Entry, scores: Scores | None) -> Iterator[tuple[str, str, bool]]:
    """Yield what is wrong with a record: the file, what, and whether that is certain."""
    try:
        _, manifest = checked(store.files.read(f"{entry.place}/{RECORD}"), entry.place)
    except FileNotFoundError:  # removed meanwhile
        return
    except Damaged as error:
        yield RECORD, str(error), True
        return
    sound, there = True, entry.files
    listed_files = _files_of(there, manifest)
    if any(_size_problem(there.get(inner), listed) for inner, listed in listed_files):
        there = store.files.find(
            entry.place
        )  # the record may have been made again since the store was listed
    for inner, listed in listed_files:
        info = there.get(inner)
        if what := _size_problem(info, listed):
            problem: tuple[str, bool] | None = (what, True)
        else:
            problem = _problem(store, f"{entry.place}/{inner}", info.bytes if info else 0, listed)
        if problem:
            sound = False
            yield (inner, *problem)
    if sound and scores and (what := scores(entry.kind, entry.name)):
        yield RECORD, what, True


def _size_problem(info: Info | None, listed: Listed | None) -> str | None:
    if info is None:
        return "is missing"
    if listed and info.bytes != listed.bytes:
        return f"has {info.bytes} bytes instead of {listed.bytes}"
    return None


def _files_of(there: Mapping[str, Info], manifest: Manifest | None) -> list[tuple[str, Listed | None]]:
    if manifest is None:
        return [(name, None) for name in there if name != RECORD]
    folder = f"{manifest.folder}/" if manifest.folder else ""
    return [(f"{folder}{file.path}", file) for file in manifest.files]


def _problem(store: Store, place: str, size: int, listed: Listed | None) -> tuple[str, bool] | None:
    """Return what is wrong with a file's content, and whether that is certain; None when nothing is."""
    opens = next((check for ending, check in _OPENS.items() if place.endswith(ending)), None)
    if listed is None and opens is None:
        return None
    try:
        with _stream(store, place, size) as stream:
            if place.startswith(f"{_SHARDS}/"):
                check_addressed(place, stream.read())
            if listed and checksum_of_stream(stream) != listed.blake2b:
                return "is not what was written (checksum)", True
            if opens:
                stream.seek(0)
                opens(stream, size)
    except FileNotFoundError:
        return "is missing", True
    except Damaged as error:
        return str(error), True
    except Exception as error:  # whatever a reader says of a damaged file
        if is_no_damage(error) and (not store.local or isinstance(error, PermissionError)):
            raise
        return f"cannot be read: {type(error).__name__}: {error}", not is_no_damage(error)
    return None


def _stream(store: Store, place: str, size: int) -> BinaryIO:
    if not store.local and size <= _IN_MEMORY:
        return io.BytesIO(store.files.read(place))
    return store.files.open(place)


def _parquet(stream: BinaryIO, size: int) -> None:
    import pyarrow.parquet as pq

    pq.read_metadata(stream)


def _safetensors(stream: BinaryIO, size: int) -> None:
    """The format: 8 bytes with the header's length, the header as JSON, the tensors it places behind it."""
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > size - 8:
        raise ValueError(f"its header of {length} bytes is longer than the file")
    header = json.loads(stream.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"its tensors end at {8 + length + max(ends, default=0)} of {size} bytes")


def _json(stream: BinaryIO, size: int) -> None:
    unseal(stream.read())


_OPENS: dict[str, Callable[[BinaryIO, int], None]] = {
    ".parquet": _parquet,
    ".safetensors": _safetensors,
    ".json": _json,
}
