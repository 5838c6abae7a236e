"""Clean rows, kept once as a memory-mapped Arrow file in this machine's cache.

A split is cleaned row by row, written whole or not at all under the hash of what determines it, and from then on
memory-mapped by every process. Rows that cannot be used are left out, counted by reason, and a few are kept as
examples in the file's metadata, so that how many are too many can be decided at every read:

    >>> Unusable("22", "unknown label", "label 'mixed'", "negative | neutral | positive").reason
    'unknown label'
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.plan.fingerprint import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_VERSION = "1"
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


def rows_file(key: str) -> Path:
    """Where they are kept on this machine."""
    return cache_folder() / "rows" / f"{key}.arrow"


def cached(
    identity: Mapping[str, Any], schema: pa.Schema, rows: Callable[[], Iterator[Row | Unusable]]
) -> Rows:
    """The rows of this identity: from the cache, else made by `rows` and put there.

    Where there is no cache that can be written they are made for this process alone: reading needs none.
    """
    key = rows_key(identity)
    try:
        file = rows_file(key)
    except InputError:  # no home
        return _unkept(key, schema, rows)
    kept = opened(file)
    if kept is None:
        if not _can_be_made(file.parent):
            return _unkept(key, schema, rows)
        _write(file, schema, rows())
        kept = opened(file)
        assert kept is not None
    return kept


def _unkept(key: str, schema: pa.Schema, rows: Callable[[], Iterator[Row | Unusable]]) -> Rows:
    """Make rows in a temporary file, which is gone from its folder when they are read, and stays mapped."""
    with tempfile.TemporaryDirectory(prefix="flare_ray-rows-") as folder:
        file = Path(folder) / f"{key}.arrow"
        _write(file, schema, rows())
        kept = opened(file)
        assert kept is not None
        return kept


def _can_be_made(folder: Path) -> bool:
    """Make a folder of the cache; return whether files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def opened(file: Path) -> Rows | None:
    """A file of rows, memory-mapped; None when it is not there, or cut short by a machine that went down."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        facts = json.loads(table.schema.metadata[_METADATA])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    examples = tuple(Unusable(**one) for one in facts["examples"])
    return Rows(table.replace_schema_metadata(), facts["dropped"], examples)


def _write(file: Path, schema: pa.Schema, rows: Iterator[Row | Unusable]) -> None:
    """Writes a scratch file chunk by chunk, copies it with the counts in its head, and renames the copy.

    The counts are known at the end only and stand at the beginning: hence the copy, which holds one chunk at a time.
    """
    import pyarrow as pa

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.stem}-", dir=file.parent) as scratch:
        first, whole = os.path.join(scratch, "rows"), os.path.join(scratch, "whole")
        dropped: Counter[str] = Counter()
        examples: list[Unusable] = []
        with pa.ipc.new_file(first, schema) as sink:
            for chunk in _chunks(rows, dropped, examples):
                sink.write_batch(pa.RecordBatch.from_pylist(chunk, schema=schema))
        facts = {"dropped": dict(dropped), "examples": [asdict(one) for one in examples]}
        reader = pa.ipc.open_file(pa.memory_map(first))
        headed = schema.with_metadata({_METADATA: json.dumps(facts).encode()})
        with pa.ipc.new_file(whole, headed) as sink:
            for number in range(reader.num_record_batches):
                sink.write_batch(reader.get_batch(number))
        os.replace(whole, file)


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
        if not isinstance(text, str) or not text.strip():
            return Unusable(str(row["id"]), "empty text", f"{column} {text!r}", "a text that is not blank")
        if not text.isascii() and not _encodes(text):
            return Unusable(str(row["id"]), "not Unicode", f"{column} {text!a}", "no lone surrogates")
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
