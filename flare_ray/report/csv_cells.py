"""Write a report's CSV files so that no cell is a formula to the spreadsheet that opens them.

    writer(stream).writerow(["=cmd|' /C calc'!A0", -0.4])  # '=cmd|' /C calc'!A0,-0.4

Names in a report come from sweep files and from errors. A text that a spreadsheet would compute gets an apostrophe
in front, which spreadsheets take for "this is text"; numbers stay numbers, negative ones too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Any, TextIO

_STARTS = "=+-@＝＋－＠"
"""What a formula begins with; the wide forms count in East Asian spreadsheets."""
_NUMBER = r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?%?"
_PRINTED = re.compile(rf"{_NUMBER}(?: (?:±|to) {_NUMBER})?(?: \(n=\d{{1,9}}\))?")
"""A number or percentage, a mean with its deviation, or an interval, as the tables print them."""


class CsvWriter:
    """A CSV writer with "\\n" at the end of lines, and formulas as text."""

    def __init__(self, stream: TextIO):
        self._writer = csv.writer(stream, lineterminator="\n")

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one line."""
        self._writer.writerow([as_text(cell) for cell in cells])


def as_text(cell: Any) -> Any:
    """Return a cell that no spreadsheet computes: a text that begins as a formula does gets an apostrophe."""
    if not isinstance(cell, str) or _PRINTED.fullmatch(cell):
        return cell
    if cell[:1] in ("\t", "\r"):
        return f"'{cell}"
    # spreadsheets skip white space, and letters that nobody sees, such as a byte order mark
    seen = next((letter for letter in cell if letter.isprintable() and not letter.isspace()), "")
    return f"'{cell}" if seen and seen in _STARTS else cell
