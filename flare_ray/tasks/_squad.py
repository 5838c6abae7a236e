"""SQuAD JSON as a stream of questions, article by article, however large the file.

    {"data": [{"title": …, "paragraphs": [{"context": "Amos and Wilfrid Ayre founded it.", "qas": [
        {"id": "english-1-0", "question": "Who?", "answers": [{"text": "Amos", "answer_start": 0}]}]}]}]}

`answer_start` counts code points, as Python's strings do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.tables.json_values import JsonReader
from flare_ray.tasks._rows import Row

_BLOCK = 1 << 20


def questions(file: Path) -> Iterator[Row]:
    """Each question with its context and answers. Raises InputError when the file is not SQuAD JSON."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for article in _articles(JsonReader(stream, _BLOCK)):
                for paragraph in article["paragraphs"]:
                    for question in paragraph["qas"]:
                        yield {
                            "id": str(question["id"]),
                            "context": paragraph["context"],
                            "question": question["question"],
                            "answers": answers_of(question.get("answers")),
                        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(str(file), [Problem("", f"{file}: {what}", "SQuAD JSON in UTF-8")]) from error


def answers_of(value: Any) -> list[dict[str, Any]]:
    """Answers of SQuAD JSON (a list of them) or of the hub (lists of texts and starts) as text and start."""
    if isinstance(value, Mapping):
        starts = value["answer_start"] if "answer_start" in value else value["start"]
        return [{"text": text, "start": start} for text, start in zip(value["text"], starts, strict=True)]
    found: Sequence[Mapping[str, Any]] = value or []
    return [{"text": one["text"], "start": one.get("answer_start", one.get("start"))} for one in found]


def _articles(reader: JsonReader) -> Iterator[Any]:
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
