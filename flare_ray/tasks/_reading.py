"""What of files is read otherwise than by earlier versions, for the identity of what is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from flare_ray.errors import InputError
from flare_ray.plan.checkpoints import files_digest
from flare_ray.tables.dialect import dialect_of
from flare_ray.tables.encoding import check_text
from flare_ray.tables.json_values import holds_rows
from flare_ray.tables.reader import records
from flare_ray.tables.text import is_blank
from flare_ray.tasks._remembered import remembered
from flare_ray.tasks._squad import questions

_SMALL = 1 << 20  # bytes; results for larger files are remembered
_INVISIBLE = "|".join(
    [
        r"\xc2\xad|\xcd\x8f|\xd8\x9c|\xe1\x85[\x9f\xa0]|\xe1\x9e[\xb4\xb5]|\xe1\xa0[\x8b-\x8f]",
        r"\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]|\xe2\xa0\x80|\xe3\x85\xa4|\xef\xb8[\x80-\x8f]",
        r"\xef\xbb\xbf|\xef\xbe\xa0|\xef\xbf[\xb0-\xbb]|\xf0\x9b\xb2[\xa0-\xa3]|\xf0\x9d\x85[\x99\xb3-\xba]",
        r"\xf3\xa0[\x80-\xbf][\x80-\xbf]|[\0-\x08\x0e-\x1b\x7f]|\xc2[\x80-\x84\x86-\x9f]|\\u[0-9a-fA-F]{4}",
    ]
)
_BLANKS = (
    r"[ \r\x0b\x0c\x1c-\x1f]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]"
    r"|\xe2\x81\x9f|\xe3\x80\x80"
)
_CELL = re.compile(
    rf'[\t\n,;|"](?:{_BLANKS})*+(?:{_INVISIBLE})(?:{_INVISIBLE}|{_BLANKS}|\\[nrt])*+(?=[\t\n,;|"]|\Z)'.encode(
        "latin-1"
    )
)
"""UTF-8 of a cell that may be blank by `is_blank` and is not by `str.strip`."""


def reading_marks(files: Iterable[Path]) -> dict[str, bool]:
    """Return `quoted_tsv` where a TSV has its values in quotes, which were letters once.

    And `invisible_texts` where a text shows nothing, which was a text once and is left out.
    """
    marks = {}
    files = list(files)
    if any(map(_is_quoted, files)):
        marks["quoted_tsv"] = True
    if any(map(_has_invisible_texts, files)):
        marks["invisible_texts"] = True
    return marks


def _is_quoted(file: Path) -> bool:
    if file.suffix != ".tsv":
        return False
    try:
        check_text(file)
        dialect = dialect_of(file)
    except (InputError, ValueError):  # named as it is read
        return False
    return dialect.delimiter == "\t" and dialect.quoted


def _has_invisible_texts(file: Path) -> bool:
    if file.suffix == ".parquet":  # earlier versions did not read it
        return False
    if file.stat().st_size < _SMALL:
        return _look(file)
    return bool(
        remembered({"check": "invisible texts, by row", "file": files_digest([file])}, lambda: _look(file))
    )


def _look(file: Path) -> bool:
    """Return whether a cell is blank that was none; a candidate in the bytes is looked up in the rows."""
    content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if _CELL.search(content) is None:
        return False
    try:
        squad = file.suffix == ".json" and not holds_rows(file)
        return any(
            isinstance(value, str) and is_blank(value) and bool(value.strip())
            for record in (questions(file) if squad else records(file))
            for value in record.values()
        )
    except (InputError, ValueError):  # named as it is read
        return False
