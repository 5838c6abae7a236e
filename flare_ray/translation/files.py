"""Columns of a table of one's own in translation: CSV, TSV, JSONL or Parquet in, the same with new columns out.

A column `text` into `ace` gives `text_ace` and, where a text could not be translated, the reason in
`text_ace_reason`. Rows, their order and their other columns stay as they are. The file is read and written row by
row, so its size does not matter.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.store import Store
from flare_ray.translation.memory import Memory, Pair
from flare_ray.translation.stage import Pool, fill

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
_BATCH = 1000

Rows = Iterator[dict[str, Any]]


def translate_file(
    store: Store,
    file: Path,
    columns: Sequence[str],
    pair: Pair,
    settings: dict[str, Any],
    out: Path,
    pool: Pool,
) -> dict[str, Any]:
    """Translates columns of `file` into `out`; returns counts of rows and, by reason, of texts without translation.

    Raises InputError for a file that is not there, of another format, or without such columns.
    """
    problems = file_problems(file, columns, out)
    if problems:
        raise InputError(str(file), problems)
    with Memory(store, pair) as memory:
        fill(store, memory, settings, lambda step: () if step else _texts(file, columns), pool)
        failed: Counter[str] = Counter()
        rows = 0

        def translated() -> Rows:
            nonlocal rows
            for row in read(file):
                rows += 1
                made = row | dict(_new_columns(row, columns, pair.target, memory))
                failed.update(made[f"{c}_{pair.target}_reason"] or "" for c in columns)
                yield made

        added = [f"{column}_{pair.target}{end}" for column in columns for end in ("", "_reason")]
        write(out, translated(), schema_with(file, added))
    del failed[""]
    return {"rows": rows, "failed": dict(failed)}


def file_problems(file: Path, columns: Sequence[str], out: Path) -> list[Problem]:
    """What is wrong with the request, before anything starts."""
    formats = " | ".join(FORMATS)
    found = [
        Problem(what, str(path), f"a file ending in {formats}")
        for what, path in (("FILE", file), ("--out", out))
        if path.suffix not in FORMATS
    ]
    if not file.is_file():
        return [*found, Problem("FILE", f"no file {file}", "a table to translate")]
    if file.resolve() == out.resolve():
        found.append(Problem("--out", str(out), "another file than the one that is read"))
    if file.suffix in FORMATS:
        first: Mapping[str, Any] = next(read(file), {})
        found += [
            Problem("--column", repr(name), f"one of: {', '.join(first)}")
            for name in columns
            if name not in first
        ]
    return found


def read(file: Path) -> Rows:
    """Rows of a table, one at a time."""
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            yield from batch.to_pylist()
        return
    with file.open(encoding="utf-8-sig", newline="") as stream:
        if file.suffix == ".jsonl":
            yield from (json.loads(line) for line in stream if line.strip())
        else:
            yield from csv.DictReader(stream, dialect="excel-tab" if file.suffix == ".tsv" else "excel")


def write(file: Path, rows: Rows, schema: Any = None) -> None:
    """Writes rows as they come, and puts the file in its place when it is whole.

    schema: of a Parquet file; told from the first rows when left out.
    """
    scratch = file.with_name(f".{file.name}.unfinished")
    if file.suffix == ".parquet":
        _parquet(scratch, rows, schema)
    elif file.suffix == ".jsonl":
        _jsonl(scratch, rows)
    else:
        _text_table(scratch, rows, "excel-tab" if file.suffix == ".tsv" else "excel")
    scratch.replace(file)


def schema_with(file: Path, columns: Sequence[str]) -> Any:
    """A Parquet file's schema with more columns of text; None for another format, which has no schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix != ".parquet":
        return None
    return pa.schema([*pq.read_schema(file), *(pa.field(name, pa.string()) for name in columns)])


def _texts(file: Path, columns: Sequence[str]) -> Iterable[str]:
    for row in read(file):
        for column in columns:
            if isinstance(row[column], str) and row[column].strip():
                yield row[column]


def _new_columns(
    row: Mapping[str, Any], columns: Sequence[str], target: str, memory: Memory
) -> Iterator[tuple[str, str | None]]:
    for column in columns:
        text = row[column]
        entry = memory.find(text) if isinstance(text, str) and text.strip() else None
        reason = "empty text" if entry is None else "empty translation" if "empty" in entry.flags else None
        yield f"{column}_{target}", entry.translation if entry and not reason else None
        yield f"{column}_{target}_reason", reason


def _parquet(place: Path, rows: Rows, schema: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None
    waiting: list[dict[str, Any]] = []

    def flush() -> None:
        nonlocal writer
        table = pa.Table.from_pylist(waiting, writer.schema if writer else schema)
        writer = writer or pq.ParquetWriter(place, table.schema)
        writer.write_table(table)
        waiting.clear()

    for row in rows:
        waiting.append(row)
        if len(waiting) == _BATCH:
            flush()
    flush()
    writer.close()


def _jsonl(place: Path, rows: Rows) -> None:
    with place.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _text_table(place: Path, rows: Rows, dialect: str) -> None:
    with place.open("w", encoding="utf-8", newline="") as stream:
        writer: Any = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(stream, list(row), dialect=dialect)
                writer.writeheader()
            writer.writerow(row)
