"""SQuAD JSON as a stream of questions, article by article, however large the file.

    {"data": [{"title": …, "paragraphs": [{"context": "Amos and Wilfrid Ayre founded it.", "qas": [
        {"id": "english-1-0", "question": "Who?", "answers": [{"text": "Amos", "answer_start": 0}]}]}]}]}

`answer_start` counts code points, as Python's strings do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from flare_ray.errors import InputError, Problem
from flare_ray.tasks._rows import Row

_BLOCK = 1 << 20
_BLANKS = " \t\r\n"


def questions(file: Path) -> Iterator[Row]:
    """Each question with its context and answers. Raises InputError when the file is not SQuAD JSON."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for article in _articles(_Reader(stream)):
                for paragraph in article["paragraphs"]:
                    for question in paragraph["qas"]:
                        yield {
                            "id": str(question["id"]),
                            "context": paragraph["context"],
                            "question": question["question"],
                            "answers": answers_of(question.get("answers")),
                        }
    except (ValueError, KeyError, TypeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(str(file), [Problem("", f"{file}: {what}", "SQuAD JSON in UTF-8")]) from error


def answers_of(value: Any) -> list[dict[str, Any]]:
    """Answers of SQuAD JSON (a list of them) or of the hub (lists of texts and starts) as text and start."""
    if isinstance(value, Mapping):
        starts = value["answer_start"] if "answer_start" in value else value["start"]
        return [{"text": text, "start": start} for text, start in zip(value["text"], starts, strict=True)]
    found: Sequence[Mapping[str, Any]] = value or []
    return [{"text": one["text"], "start": one.get("answer_start", one.get("start"))} for one in found]


def _articles(reader: _Reader) -> Iterator[Any]:
    """The items of the top object's `data`; its other values are skipped."""
    there = False
    reader.expect("{")
    while not reader.accept("}"):
        key = reader.value()
        reader.expect(":")
        if key == "data":
            there = True
            reader.expect("[")
            while not reader.accept("]"):
                yield reader.value()
                reader.accept(",")
        else:
            reader.value()
        reader.accept(",")
    if not there:
        raise KeyError("data")


class _Reader:
    """JSON values from a stream one after another, with one block of it and the value at hand in memory."""

    def __init__(self, stream: TextIO):
        self.stream, self.text, self.place, self.ended = stream, "", 0, False
        self.decoder = json.JSONDecoder()

    def accept(self, sign: str) -> bool:
        """Whether the next sign is this one; steps over it if so."""
        there = self._next() == sign
        self.place += there
        return there

    def expect(self, sign: str) -> None:
        """Steps over this sign, or raises ValueError."""
        if not self.accept(sign):
            found = self.text[self.place : self.place + 20]
            raise ValueError(f"{found!r} where {sign!r} is wanted" if found else f"it ends before a {sign!r}")

    def value(self) -> Any:
        """The next value; reads on until it is whole."""
        self._next()
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

    def _next(self) -> str:
        """Steps over blanks; the sign there, or nothing at the end of the stream."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in _BLANKS:
                self.place += 1
            if self.place < len(self.text) or not self._more():
                return self.text[self.place : self.place + 1]

    def _more(self) -> bool:
        """Reads another block; False at the end of the stream."""
        block = self.stream.read(
            max(_BLOCK, len(self.text) - self.place)
        )  # doubling: linear for a long value
        self.text = self.text[self.place :] + block
        self.place = 0
        return bool(block)
