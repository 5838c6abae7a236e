r"""CSV, TSV and JSON lines as a stream of records, whatever their size.

A record maps column names to values. A line that has not one value for each column also says `broken`: what it is.
It does not vanish, so that rows counted by their place keep their numbers:

    premise\thypothesis\tlabel
    And he said, Mama, I'm home.\tHe didn't say a word.\t2
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem

Record = Mapping[str, Any]
SUFFIXES = (".tsv", ".jsonl", ".csv")


def header(file: Path) -> list[str]:
    """Column names: of the first line, or the keys of the first JSON object."""
    with _told(file), file.open(encoding="utf-8-sig", newline="\n") as stream:
        line = stream.readline().rstrip("\r\n")
        if file.suffix == ".jsonl":
            return list(_object(line)) if line else []
        if file.suffix == ".csv":
            return next(csv.reader([line]), [])
        return line.split("\t")


def records(file: Path) -> Iterator[Record]:
    """All records of a file, by its suffix. Raises InputError when it cannot be read as text."""
    read = {".csv": _csv, ".jsonl": _jsonl}.get(file.suffix, _tsv)
    with _told(file):
        yield from read(file)


def first_of(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of these names that is a column."""
    return next((name for name in names if name in columns), None)


def absent_columns(file: Path, columns: Sequence[str], absent: Sequence[str]) -> InputError:
    """The error of a file without columns that the task needs."""
    found = f"{file} with the columns {', '.join(columns)}"
    return InputError(str(file), [Problem("", found, f"also {', '.join(absent)}")])


def _tsv(file: Path) -> Iterator[Record]:
    """Fields between tabs; quotes are letters like others (`csv.QUOTE_NONE`)."""
    columns: list[str] | None = None
    for line in _lines(file):
        fields = line.split("\t")
        if columns is None:
            columns = fields
        else:
            yield _record(columns, fields)


def _csv(file: Path) -> Iterator[Record]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, strict=True)
        columns = next(rows, [])
        for fields in rows:
            if fields:
                yield _record(columns, fields)


def _jsonl(file: Path) -> Iterator[Record]:
    for line in _lines(file):
        try:
            yield _object(line)
        except ValueError:
            yield {"broken": f"the line {line[:60]!r}"}


def _lines(file: Path) -> Iterator[str]:
    """Lines ended by a line feed only; blank ones count as rows, except at the end of the file."""
    blank = 0
    with file.open(encoding="utf-8-sig", newline="\n") as stream:
        for line in stream:
            line = line.rstrip("\r\n")
            if not line:
                blank += 1
                continue
            yield from [""] * blank
            blank = 0
            yield line


def _record(columns: Sequence[str], fields: Sequence[str]) -> Record:
    if len(columns) != len(fields):
        found = f"{len(fields)} values under {len(columns)} columns"
        return {**dict(zip(columns, fields, strict=False)), "broken": found}
    return dict(zip(columns, fields, strict=True))


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"{line[:60]!r} is no JSON object")
    return value


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Errors of decoding and parsing, with the file's name."""
    try:
        yield
    except (ValueError, csv.Error) as error:
        wanted = f"{file.suffix.removeprefix('.')} in UTF-8"
        raise InputError(str(file), [Problem("", f"{file}: {error}", wanted)]) from error
