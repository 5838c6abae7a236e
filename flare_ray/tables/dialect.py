r"""How a CSV or TSV file separates its values, found from its first lines; whether a TSV quotes them, from all.

    >>> file = getfixture("tmp_path") / "test.csv"
    >>> _ = file.write_text("id;text;label\n1;one, or two;neutral\n", encoding="utf-8")
    >>> str(dialect_of(file))
    "values separated by ';'"

A format's own delimiter goes before others, and a quote in a TSV is a letter, unless no reading but another one fits.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flare_ray.tables.encoding import line_end

_USUAL = {".csv": ",", ".tsv": "\t"}
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 1 << 18  # characters
_LONGEST_CELL = 1 << 16  # characters of a quoted TSV cell with line breaks
_FIELD = r'(?:"(?:[^"]|"")*+"|[^\t"]*+)'
_RECORD = re.compile(rf"{_FIELD}(?:\t{_FIELD})*+")
_OPEN = re.compile(rf'(?:{_FIELD}\t)*+"(?:[^"]|"")*+')
_FIELDS = re.compile(rf"(?:^|\t)({_FIELD})")


@dataclass(frozen=True)
class Dialect:
    r"""How values are separated. quoted: whether `"` around a value is no part of it. line_end: `\n` or `\r`."""

    delimiter: str
    quoted: bool
    usual: bool
    line_end: str = "\n"

    def __str__(self) -> str:
        name = "tabs" if self.delimiter == "\t" else repr(self.delimiter)
        return f"values separated by {name}" + (", quoted" if self.quoted and self.delimiter == "\t" else "")


def dialect_of(file: Path) -> Dialect:
    """Return how a CSV or TSV file is read. Raises OSError and UnicodeDecodeError."""
    status = file.stat()
    return _dialect(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _dialect(file: Path, changed: int, size: int) -> Dialect:
    end = line_end(file)
    with file.open(encoding="utf-8-sig", newline=end) as stream:
        sample = stream.read(_SAMPLE)
        complete = len(sample) < _SAMPLE
    usual = _USUAL.get(file.suffix, ",")
    if end == "\r":
        sample = sample.replace("\r", "\n")
    delimiter = _delimiter(sample if complete else sample.rpartition("\n")[0], usual)
    quoted = delimiter != "\t" or _tabs_are_quoted(file, end)
    return Dialect(delimiter, quoted, (delimiter, quoted) == (usual, usual == ","), end)


def _delimiter(sample: str, usual: str) -> str:
    """Return the delimiter that gives all rows as many values as the header has, two at least; else the usual one."""
    if _width(sample, usual):
        return usual
    widths = {delimiter: _width(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: widths[delimiter])
    return best if widths[best] else usual


def _width(sample: str, delimiter: str) -> int:
    """Return the number of columns if all rows of the sample have it, and if it is two or more; else 0."""
    if delimiter not in sample.partition("\n")[0]:
        return 0
    csv.field_size_limit(2**31 - 1)
    lines = [line.rstrip("\r") + "\n" for line in sample.split("\n")]
    try:
        if delimiter == "\t":
            rows = [line[:-1].split("\t") for line in lines if line != "\n"]
        else:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return 0
    widths = {len(row) for row in rows}
    if delimiter == "\t" and len(widths) > 1:  # quoted values may hold tabs and line ends
        widths = {len(row) for row in csv.reader(io.StringIO(sample), delimiter="\t") if row}
    return widths.pop() if len(widths) == 1 else 0


def _tabs_are_quoted(file: Path, end: str) -> bool:
    """Return whether a TSV quotes its values: each quote in it fits, and without quoting something would not.

    What does not fit otherwise: a quoted header, quotes written twice, rows of another number of values.
    """
    if not _has_quotes(file):
        return False
    evidence, pending, width, ragged = False, "", 0, False
    with file.open(encoding="utf-8-sig", newline=end) as stream:
        for line in stream:
            line = line.rstrip("\r\n")
            width = width or line.count("\t") + 1
            if not pending and '"' not in line:
                continue
            text, ragged = pending + line, ragged or line.count("\t") + 1 != width
            if _RECORD.fullmatch(text):
                fields = _FIELDS.findall(text)
                doubled = any('""' in field[1:-1] for field in fields if field.startswith('"'))
                evidence = evidence or doubled or (ragged and len(fields) == width)
                pending, ragged = "", False
            elif len(text) <= _LONGEST_CELL and _OPEN.fullmatch(text):
                pending = f"{text}\n"
            else:
                return False
    return not pending and (evidence or _header_is_quoted(file, end))


def _has_quotes(file: Path) -> bool:
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            if b'"' in block:
                return True
    return False


def _header_is_quoted(file: Path, end: str) -> bool:
    with file.open(encoding="utf-8-sig", newline=end) as stream:
        fields = stream.readline().rstrip("\r\n").split("\t")
    return all(len(field) > 1 and field[0] == field[-1] == '"' for field in fields)
