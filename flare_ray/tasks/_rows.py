"""Clean rows, kept once as a memory-mapped Arrow file in this machine's cache.

A split is cleaned row by row, written whole or not at all under the hash of what determines it, and from then on
memory-mapped by every process. The file's name has its checksum and its head the key: a file that is damaged, or in
another's place, is noticed, removed and made again. Rows that cannot be used are left out and counted by reason, and
some are kept as examples in the file's metadata, so that how many are too many can be decided at every read:

    >>> Unusable("22", "unknown label", "label 'mixed'", "negative | neutral | positive").reason
    'unknown label'
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.store.digests import has_checksum
from flare_ray.store.manifest import checksum_of
from flare_ray.tables.text import is_blank

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

ROWS_VERSION = "2"
"""Bumped by hand when a change of code changes the rows that come out of the same files."""

Row = Mapping[str, Any]

_METADATA = b"flare_ray"
_EXAMPLES = 3
_CHUNK = 5000


@dataclass(frozen=True)
class Unusable:
    """A row that is left out: why, what was found in it, and what is wanted instead."""

    row_id: str
    reason: str
    found: str
    wanted: str


@dataclass(frozen=True)
class Rows:
    """One split of one language, unusable rows left out.

    table: memory-mapped; dropped: reason -> rows left out for it.
    """

    table: pa.Table
    dropped: Mapping[str, int]
    examples: tuple[Unusable, ...] = ()

    def check(self, where: str, origin: str, max_dropped: float) -> Rows:
        """Itself, or InputError with examples when more than this share of the rows is unusable."""
        lost = sum(self.dropped.values())
        total = lost + self.table.num_rows
        if lost <= max_dropped * total:
            return self
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        share = Problem(
            where, f"{origin}: {lost} of {total} rows unusable ({reasons})", f"at most {max_dropped:.2%}"
        )
        examples = [
            Problem(where, f"{origin}: {one.found} in row {one.row_id}", one.wanted) for one in self.examples
        ]
        raise InputError(origin, [share, *examples])


def rows_key(identity: Mapping[str, Any]) -> str:
    """By which the rows of an identity are known, in this version of the code."""
    return fingerprint({"version": ROWS_VERSION, **identity})


def file_name(key: str) -> str:
    """Return the name of a key's rows where the store keeps them, with a checksum of its own."""
    return f"{key}.arrow"


def cached_file(key: str) -> Path | None:
    """Return a key's whole file in this machine's cache; what is damaged there is removed."""
    folder = cache_folder() / "rows"
    for file in sorted(folder.glob(f"{key}.*.arrow")):
        if _is_whole(file, key):
            return file
        log.warning("%s is not what was written: its rows are read again", file)
        _discard(file)
    return None


def cached(
    identity: Mapping[str, Any], schema: pa.Schema, rows: Callable[[], Iterator[Row | Unusable]]
) -> Rows:
    """The rows of this identity: from the cache, else made by `rows` and put there.

    Where there is no cache that can be written they are made for this process alone: reading needs none.
    """
    key = rows_key(identity)
    try:
        folder = cache_folder() / "rows"
        file = cached_file(key)
    except InputError:  # no home
        return _unkept(key, schema, rows)
    if file is None:
        if not _can_be_made(folder):
            return _unkept(key, schema, rows)
        file = _write(folder, key, schema, rows())
    return _just_written(file, key)


def _just_written(file: Path, key: str) -> Rows:
    rows = opened(file, key)
    if rows is None:
        raise OSError(
            f"{file} is not what was just written; check its disk (FLARE_RAY_CACHE names the cache)"
        )
    return rows


def _unkept(key: str, schema: pa.Schema, rows: Callable[[], Iterator[Row | Unusable]]) -> Rows:
    """Make rows in a temporary file, which is gone from its folder when they are read, and stays mapped."""
    with tempfile.TemporaryDirectory(prefix="flare_ray-rows-") as folder:
        return _just_written(_write(Path(folder), key, schema, rows()), key)


def _can_be_made(folder: Path) -> bool:
    """Make a folder of the cache; return whether files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def opened(file: Path, key: str) -> Rows | None:
    """Return a file of a key's rows, memory-mapped; None when it is not there, damaged, or of another key."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        facts = json.loads(table.schema.metadata[_METADATA])
        if facts.get("key", key) != key:  # files of earlier versions in a store have none
            return None
        examples = tuple(Unusable(**one) for one in facts["examples"])
        return Rows(table.replace_schema_metadata(), facts["dropped"], examples)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_whole(file: Path, key: str) -> bool:
    """Return whether a cached file has the checksum of its name, and the key in its head."""
    try:
        return has_checksum(file, file.name.split(".")[1]) and opened(file, key) is not None
    except OSError:
        return False


def _discard(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file, ignore_errors=True)
    else:
        file.unlink(missing_ok=True)


def _write(folder: Path, key: str, schema: pa.Schema, rows: Iterator[Row | Unusable]) -> Path:
    """Writes a scratch file chunk by chunk, copies it with the counts in its head, and renames the copy.

    The counts are known at the end only and stand at the beginning: hence the copy, which holds one chunk at a time.
    """
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=folder) as scratch:
        first, whole = os.path.join(scratch, "rows"), os.path.join(scratch, "whole")
        dropped: Counter[str] = Counter()
        examples: list[Unusable] = []
        with pa.ipc.new_file(first, schema) as sink:
            for chunk in _chunks(rows, dropped, examples):
                sink.write_batch(pa.RecordBatch.from_pylist(chunk, schema=schema))
        facts = {"key": key, "dropped": dict(dropped), "examples": [asdict(one) for one in examples]}
        reader = pa.ipc.open_file(pa.memory_map(first))
        headed = schema.with_metadata({_METADATA: json.dumps(facts).encode()})
        with pa.ipc.new_file(whole, headed) as sink:
            for number in range(reader.num_record_batches):
                sink.write_batch(reader.get_batch(number))
        file = folder / f"{key}.{checksum_of(Path(whole))}.arrow"
        os.replace(whole, file)
    return file


def _chunks(
    rows: Iterator[Row | Unusable], dropped: Counter[str], examples: list[Unusable]
) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        if isinstance(row, Unusable):
            if not dropped[row.reason] or len(examples) < _EXAMPLES:  # each reason has its example
                examples.append(row)
            dropped[row.reason] += 1
            continue
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def text_fault(row: Row, columns: tuple[str, ...]) -> Unusable | None:
    """What is wrong with a row's texts, whatever the task."""
    if row.get("broken"):
        return Unusable(str(row["id"]), "malformed row", row["broken"], "one value for each column")
    for column in columns:
        text = row.get(column)
        if text is not None and not isinstance(text, str):
            return Unusable(str(row["id"]), "not a text", f"{column} {text!r}", "a text")
        if text is None or is_blank(text):
            return Unusable(str(row["id"]), "empty text", f"{column} {text!a}", "a text that is not blank")
        if not text.isascii() and not _encodes(text):
            return Unusable(str(row["id"]), "not Unicode", f"{column} {text!a}", "no lone surrogates")
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
