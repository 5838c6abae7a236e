"""JSON values from a stream, one after another, however large the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

_BLOCK = 1 << 20  # characters
_BLANKS = " \t\r\n"


class JsonReader:
    """JSON values from a stream one after another, with one block of it and the value at hand in memory."""

    def __init__(self, stream: TextIO, block: int = _BLOCK):
        self.stream, self.block, self.text, self.place = stream, block, "", 0
        self.decoder = json.JSONDecoder(object_pairs_hook=unique)
        self.before = 0
        """Lines in the blocks that are gone."""

    @property
    def line(self) -> int:
        """The number of the line at hand."""
        return self.before + self.text.count("\n", 0, self.place) + 1

    def accept(self, sign: str) -> bool:
        """Whether the next sign is this one; steps over it if so."""
        there = self.peek() == sign
        self.place += there
        return there

    def expect(self, sign: str) -> None:
        """Steps over this sign, or raises ValueError."""
        if not self.accept(sign):
            snippet = self.text[self.place : self.place + 20]
            raise ValueError(
                f"{snippet!r} where {sign!r} is wanted" if snippet else f"it ends before a {sign!r}"
            )

    def value(self) -> Any:
        """The next value; reads on until it is whole."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            if end < len(self.text) or not self._more():  # a number may continue in the next block
                self.place = end
                return value

    def peek(self) -> str:
        """Steps over blanks; the sign there, or nothing at the end of the stream."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in _BLANKS:
                self.place += 1
            if self.place < len(self.text) or not self._more():
                return self.text[self.place : self.place + 1]

    def _more(self) -> bool:
        """Reads another block; False at the end of the stream."""
        block = self.stream.read(
            max(self.block, len(self.text) - self.place)
        )  # doubling: linear for a long value
        self.before += self.text.count("\n", 0, self.place)
        self.text = self.text[self.place :] + block
        self.place = 0
        return bool(block)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for a key that comes twice: which of its values counts is not known."""
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return value


def holds_rows(file: Path) -> bool:
    """Return whether a JSON file is a list of rows, or rows one after another, and no SQuAD JSON."""
    with file.open(encoding="utf-8-sig") as stream:
        reader = JsonReader(stream)
        if reader.accept("["):
            return reader.peek() == "{"
        return reader.accept("{") and reader.peek() == '"' and reader.value() not in ("data", "version")


def array_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield the values of a list, or values one after another, with the line that each begins in."""
    with file.open(encoding="utf-8-sig") as stream:
        reader = JsonReader(stream)
        if not reader.accept("["):
            while reader.peek():
                line = reader.line
                yield line, reader.value()
            return
        while not reader.accept("]"):
            line = reader.line
            yield line, reader.value()
            if not reader.accept(","):
                reader.expect("]")
                break
        if reader.peek():
            raise ValueError(f"line {reader.line}: text after the list")
