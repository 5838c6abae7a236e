r"""Rows of a table, by its suffix and its first lines: CSV, TSV, JSON lines, a JSON list, Parquet, whatever the size.

A record maps column names to values. A line that has not one value for each column also says `broken`: what it is,
and where. It does not vanish, so that rows counted by their place keep their numbers:

    premise\thypothesis\tlabel
    And he said, Mama, I'm home.\tHe didn't say a word.\t2

What cannot be split into rows with certainty (an unclosed quote, a line end inside a value) is an InputError.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.tables import parquet
from flare_ray.tables.dialect import Dialect, dialect_of
from flare_ray.tables.encoding import check_text, undecodable_line
from flare_ray.tables.json_values import array_rows, unique
from flare_ray.tables.text import visible_part

Record = Mapping[str, Any]


class Broken(dict[str, Any]):
    """A record that is not whole: `broken` says why. A whole one may have a column of that name."""


SUFFIXES = (".tsv", ".jsonl", ".csv", ".parquet", ".json")
_ANY_LENGTH = 2**31 - 1
_BLANK_FILE = 4  # bytes, with a byte order mark
_SHOWN = 60  # characters of a line in an error


def header(file: Path) -> list[str]:
    """Return column names: of the first line, or the keys of the first JSON object."""
    with named_errors(file):
        if file.suffix == ".parquet":
            return _unique_names(parquet.column_names(file))
        check_text(file)
        if file.suffix == ".json":
            return list(next((value for _, value in array_rows(file) if isinstance(value, dict)), {}))
        if file.suffix == ".jsonl":
            line = next((line for _, line in _lines(file, "\n")), "")
            return list(_object(line)) if line else []
        dialect = dialect_of(file)
        if dialect.delimiter == "\t" and not dialect.quoted:
            number, line = next(_lines(file, dialect.line_end), (1, ""))
            if not line and file.stat().st_size > _BLANK_FILE:
                raise ValueError(f"line {number}: a blank line, where the names of the columns are expected")
            return _columns(line.split("\t")) if line else []
        return _columns(next(_quoted(file, dialect), (1, []))[1])


def records(file: Path, *, strict: bool = False) -> Iterator[Record]:
    """Yield all records of a file. Raises InputError, with the line, where it cannot be read.

    strict: also blank lines between the rows of a CSV and at the end of one column are rows, classes are numbers.
    """
    with named_errors(file):
        if file.suffix == ".parquet":
            yield from parquet.rows(file, class_names=not strict)
            return
        check_text(file)
        if file.suffix == ".json":
            yield from (_checked(value, line) for line, value in array_rows(file))
        elif file.suffix == ".jsonl":
            for number, line in _lines(file, "\n"):
                yield _parsed(line, number)
        else:
            yield from _rows(file, strict)


def strict_records(file: Path) -> Iterator[Record]:
    """Yield all records of a file. Raises InputError, with the line, for a broken one, and for NUL characters."""
    for number, record in enumerate(records(file, strict=True), start=1):
        fault = str(record["broken"]) if isinstance(record, Broken) else ""
        if any(isinstance(value, str) and "\0" in value for value in record.values()):
            fault = fault or f"row {number}: a NUL character"
        if fault:
            got = f"{file}, {fault}"
            raise InputError(str(file), [Problem("", got, "one value for each column in each row, as text")])
        yield record


def describe(file: Path) -> str:
    """Return how an unusual CSV or TSV is read, for messages; nothing for a usual one."""
    if file.suffix not in (".csv", ".tsv"):
        return ""
    with named_errors(file):
        check_text(file)
        dialect = dialect_of(file)
    return "" if dialect.usual else str(dialect)


def first_of(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first of these names that is a column."""
    return next((name for name in names if name in columns), None)


def absent_columns(file: Path, columns: Sequence[str], absent: Sequence[str]) -> InputError:
    """Return the error of a file without columns that are needed."""
    if not columns:
        got = f"{file}, which is empty"
    else:
        names = ", ".join(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…" for name in columns)
        read_as = describe(file)
        got = f"{file} with the columns {names}" + (f" ({read_as})" if read_as else "")
    expected = f"also {', '.join(absent)}"
    if columns and file.suffix in (".csv", ".tsv"):
        expected += ", in a first line with the columns' names"
    return InputError(str(file), [Problem("", got, expected)])


def _rows(file: Path, strict: bool) -> Iterator[Record]:
    """Yield the rows of a CSV or TSV."""
    dialect = dialect_of(file)
    if dialect.delimiter == "\t" and not dialect.quoted:
        yield from _tab_rows(file, dialect.line_end, strict)
        return
    lines = _quoted(file, dialect, strict)
    _, names = next(lines, (1, []))
    columns = _columns(names)
    for number, fields in lines:
        yield _record(columns, fields, number)


def _tab_rows(file: Path, end: str, strict: bool) -> Iterator[Record]:
    """Yield lines of values between tabs, where quotes are letters; blank lines are rows, but at the file's end."""
    blank, number = 0, 1
    with file.open(encoding="utf-8-sig", newline=end) as stream:
        columns = _columns(stream.readline().rstrip("\r\n").split("\t"))
        width = len(columns)
        for line in stream:
            number += 1
            line = line.rstrip("\r\n")
            if not line:
                blank += 1
                continue
            if blank:
                yield from (_record(columns, [""], number - blank + offset) for offset in range(blank))
                blank = 0
            fields = line.split("\t")
            if len(fields) == width:
                yield dict(zip(columns, fields))  # noqa: B905 - half a million rows
            else:
                yield _record(columns, fields, number)
    if strict and width == 1:
        yield from (_record(columns, [""], number - blank + offset) for offset in range(1, blank + 1))


def _columns(names: Sequence[str]) -> list[str]:
    """Return the names of a header. Raises ValueError."""
    return _unique_names([visible_part(name) for name in names])


def _record(columns: Sequence[str], fields: Sequence[str], number: int) -> Record:
    row = dict(zip(columns, fields, strict=False))
    if len(fields) == len(columns):
        return row
    return Broken(row, broken=f"line {number}: {len(fields)} values under {len(columns)} columns")


def _quoted(file: Path, dialect: Dialect, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield lines of values in quotes, with their numbers. Blank lines are rows where there is one column.

    A carriage return alone ends no line, and outside of quotes is an error.
    """
    csv.field_size_limit(_ANY_LENGTH)  # of the whole process: others may have set it
    blank, width = 0, 0
    with file.open(encoding="utf-8-sig", newline=dialect.line_end) as stream:
        reader = csv.reader(stream, delimiter=dialect.delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                raise ValueError(f"line {line}: {_explained(error, reader.line_num)}") from error
            if not fields:
                blank += 1
                continue
            if blank and width and (width == 1 or strict):
                yield from ((line - blank + offset, [""]) for offset in range(blank))
            blank, width = 0, width or len(fields)
            yield line, fields
    if strict and width == 1:
        yield from ((line - blank + offset, [""]) for offset in range(blank))


def _explained(error: csv.Error, last: int) -> str:
    """Return an error of the csv module in other words. last: the line that it was found in."""
    text = str(error)
    if "unexpected end of data" in text:
        return f"a quote that is not closed until the end of the file (line {last})"
    if "new-line character" in text:
        return "a carriage return inside a value without quotes"
    return f"{text}: a quote inside a value is written twice, and the value between quotes"


def _lines(file: Path, end: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; blank ones count as rows, except at the end of the file."""
    blank = 0
    with file.open(encoding="utf-8-sig", newline=end) as stream:
        for number, line in enumerate(stream, start=1):
            line = line.rstrip("\r\n")
            if not line:
                blank += 1
                continue
            if blank:
                yield from ((number - blank + offset, "") for offset in range(blank))
                blank = 0
            yield number, line


def _parsed(line: str, number: int) -> Record:
    try:
        return _object(line)
    except (ValueError, RecursionError) as error:
        shown = "a blank line" if not line else f"the line {line[:_SHOWN]!r}"
        return Broken(broken=f"line {number}: {shown}: {error}")


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line, object_pairs_hook=unique)
    if not isinstance(value, dict):
        raise ValueError("no JSON object; wanted an object")
    return value


def _checked(value: Any, line: int) -> Record:
    """Return a value of a JSON list as a record."""
    if isinstance(value, dict):
        return value
    return Broken(broken=f"line {line}: {str(value)[:_SHOWN]!r}, no JSON object")


def _unique_names(columns: Iterable[str]) -> list[str]:
    names = list(columns)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(
            f"line 1: the column {', '.join(map(repr, twice))} twice; give each column a name of its own"
        )
    return names


@contextmanager
def named_errors(file: Path) -> Iterator[None]:
    """Raise errors of decoding and parsing as InputError, with the file's name."""
    kind = file.suffix.removeprefix(".")
    expected = "a whole Parquet file" if kind == "parquet" else f"{kind} in UTF-8"
    try:
        yield
    except UnicodeDecodeError as error:
        byte = error.object[error.start : error.start + 1]
        got = f"{file}, line {undecodable_line(file)}: UnicodeDecodeError: {error.reason} ({byte!r})"
        raise InputError(str(file), [Problem("", got, expected)]) from error
    except OSError as error:
        if error.errno is not None:  # of the disk; Arrow's own have no number
            raise
        raise InputError(str(file), [Problem("", f"{file}: {error}", expected)]) from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(str(file), [Problem("", f"{file}: {error}", expected)]) from error
