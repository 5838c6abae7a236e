"""Columns of a table of one's own in translation: CSV, TSV, JSONL or Parquet in, the same with new columns out.

A column `text` into `ace` gives `text_ace` and, where a text could not be translated, the reason in
`text_ace_reason`. Rows, their order and their other columns stay as they are. The file is read and written row by
row, so its size does not matter.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray.errors import InputError, Problem
from flare_ray.store import Store
from flare_ray.store.disk import FULL
from flare_ray.tables.dialect import dialect_of
from flare_ray.tables.reader import strict_records
from flare_ray.tables.text import is_blank
from flare_ray.translation.memory import Memory, Pair
from flare_ray.translation.quality import QUALITY_FLAGS, all_flags
from flare_ray.translation.stage import Pool, fill
from flare_ray.translation.suspicions import LengthRatio

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_BATCH = 1000
_MEASURED = 2000
"""Texts, the first ones, whose translations' usual length is measured."""


_BREAKS = re.compile(r"[\t\r\n]+")


class _Tabs(csv.excel_tab):
    """Tabs between values and nothing else: a quote is a quote, as in XNLI's files."""

    quoting = csv.QUOTE_NONE
    quotechar = None


def _dialect(file: Path, out: Path) -> type[csv.Dialect]:
    """Return how values are separated: as in the file that was read, if it has the same format."""
    read_as = dialect_of(file) if file.suffix == out.suffix and out.suffix in (".csv", ".tsv") else None
    if out.suffix == ".tsv" and not (read_as and read_as.quoted):
        return _Tabs

    class Separated(csv.excel):
        delimiter = read_as.delimiter if read_as else ","

    return Separated


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
    """Translates columns of `file` into `out`; returns counts: `rows`, `failed` by reason, `flagged` by flag.

    Raises InputError for a file that is not there, of another format, or without such columns.
    """
    problems = file_problems(file, columns, out, pair.target)
    if problems:
        raise InputError(str(file), problems)
    with Memory(store, pair) as memory:
        fill(store, memory, settings, lambda step: () if step else _texts(file, columns), pool)
        flagged = _flagged(file, columns, memory)
        failed: Counter[str] = Counter()
        rows = 0

        def translated() -> Rows:
            nonlocal rows
            for row in read(file):
                rows += 1
                made = row | dict(_new_columns(row, columns, pair.target, memory))
                failed.update(made[_added(column, pair.target)[1]] or "" for column in columns)
                yield made

        added = [name for column in columns for name in _added(column, pair.target)]
        names = [*dict.fromkeys(name for row in read(file) for name in row), *added]
        write(out, translated(), names, _schema(file, out, added), _dialect(file, out))
    del failed[""]
    return {"rows": rows, "failed": dict(failed), "flagged": flagged}


def _flagged(file: Path, columns: Sequence[str], memory: Memory) -> dict[str, int]:
    """Return how many translations have each flag of quality.py."""
    some = islice(_texts(file, columns), _MEASURED)
    pairs = [(text, entry.translation) for text in some if (entry := memory.find(text))]
    expected = LengthRatio.of(pairs, memory.pair.source, memory.pair.target)
    flagged: Counter[str] = Counter()
    for text in _texts(file, columns):
        if (entry := memory.find(text)) is not None:
            flagged.update(all_flags(text, entry.translation, entry.flags, expected))
    return {flag: flagged[flag] for flag in QUALITY_FLAGS if flagged[flag]}


def file_problems(file: Path, columns: Sequence[str], out: Path, target: str) -> list[Problem]:
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
    found += _out_problems(out)
    if file.suffix in FORMATS:
        first: Mapping[str, Any] = {}
        try:
            for row in read(file):  # all of it: a fault in its last line is named before hours of translation
                first = first or row
        except InputError as error:
            return [*found, *error.problems]
        if not first:
            return [*found, Problem("FILE", f"{file} without a row", "a table with rows")]
        found += [
            Problem("--column", f"{name!r} beside {added!r}", "a table that has no such column yet")
            for name in columns
            for added in _added(name, target)
            if added in first
        ]
        found += [
            Problem("--column", repr(name), f"one of: {', '.join(first)}")
            for name in columns
            if name not in first
        ]
    return found


def _out_problems(out: Path) -> list[Problem]:
    """Return what keeps the table from being written: asked before, as a translation may take hours."""
    folder = out.absolute().parent
    if not folder.is_dir():
        return [Problem("--out", f"no folder {folder}", "a folder that is there")]
    if out.is_dir():
        return [Problem("--out", f"the folder {out}", "a file's name")]
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        got = f"{folder}: {type(error).__name__}: {error.strerror}"
        return [Problem("--out", got, "a folder that can be written", passes=error.errno in FULL)]


def read(file: Path) -> Rows:
    """Rows of a table, one at a time. Raises InputError, with the line's number, for what cannot be read."""
    number = 1
    try:
        for row in strict_records(file):
            yield dict(row)
            number += 1
    except InputError as error:
        problems = [replace(one, where="FILE", found=f"{one.found} (row {number})") for one in error.problems]
        raise InputError(error.title, problems) from error


def write(
    file: Path,
    rows: Rows,
    names: Sequence[str],
    schema: Any = None,
    dialect: type[csv.Dialect] = csv.excel,
) -> None:
    """Writes rows as they come, and puts the file in its place when it is whole.

    names: all columns. schema: of a Parquet file. dialect: of a CSV or TSV.
    """
    scratch = file.with_name(f".{file.name}.unfinished")
    if file.suffix == ".parquet":
        _parquet(scratch, rows, schema)
    else:
        _lines(scratch, rows, names, file.suffix, dialect)
    scratch.replace(file)


def _schema(file: Path, out: Path, added: Sequence[str]) -> Any:
    """A Parquet table's schema: the columns that were read and those that are added. None for another format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out.suffix != ".parquet":
        return None
    texts = [pa.field(name, pa.string()) for name in added]
    if file.suffix == ".parquet":
        return pa.schema([*pq.read_schema(file), *texts])
    if file.suffix in (".jsonl", ".json"):
        schemas = [_columns(some).schema for some in _some(read(file))]
        return pa.schema([*pa.unify_schemas(schemas, promote_options="permissive"), *texts])
    return pa.schema([*(pa.field(name, pa.string()) for name in next(read(file))), *texts])


def _columns(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of rows that need not have all columns."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _some(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, _BATCH)):
        yield some


def _added(column: str, target: str) -> tuple[str, str]:
    """The new columns of a column: the translation, and why there is none."""
    return f"{column}_{target}", f"{column}_{target}_reason"


def _fault(text: Any) -> str | None:
    """Why a value cannot be translated."""
    if text is None or (isinstance(text, str) and is_blank(text)):
        return "empty text"
    if not isinstance(text, str):
        return "not a text"
    return "not Unicode" if any("\ud800" <= sign <= "\udfff" for sign in text) else None


def _texts(file: Path, columns: Sequence[str]) -> Iterable[str]:
    for row in read(file):
        yield from (row[column] for column in columns if _fault(row.get(column)) is None)


def _new_columns(
    row: Mapping[str, Any], columns: Sequence[str], target: str, memory: Memory
) -> Iterator[tuple[str, str | None]]:
    for column in columns:
        reason, entry = _fault(row.get(column)), None
        if reason is None:
            entry = memory.find(row[column])
            if entry is None:
                raise RuntimeError(f"a text has no translation: was the file changed? {row[column][:60]!r}")
            reason = "empty translation" if "empty" in entry.flags else None
        made, why = _added(column, target)
        yield made, entry.translation if entry and not reason else None
        yield why, reason


def _parquet(place: Path, rows: Rows, schema: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(place, schema) as writer:
        for some in _some(rows):
            writer.write_table(pa.Table.from_pylist(some, schema))


def _lines(place: Path, rows: Rows, names: Sequence[str], suffix: str, dialect: type[csv.Dialect]) -> None:
    with place.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        if suffix in (".jsonl", ".json"):
            before, between, after = ("[\n", ",\n", "\n]\n") if suffix == ".json" else ("", "\n", "\n")
            stream.write(before)
            for number, row in enumerate(rows):
                stream.write((between if number else "") + json.dumps(row, ensure_ascii=False))
            stream.write(after)
        else:
            # The user's own texts, to be read by programs: what a spreadsheet would compute stays as it is.
            table = csv.DictWriter(stream, names, dialect=dialect)
            table.writeheader()
            table.writerows(_one_line(row) if dialect is _Tabs else row for row in rows)


def _one_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without tabs and line ends in its values, which have no place in a TSV."""
    return {
        name: " ".join(_BREAKS.split(value)) if isinstance(value, str) else value
        for name, value in row.items()
    }
