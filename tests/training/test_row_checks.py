"""Rows that a worker is the first to read, as those of the hub, are refused there as a plan refuses local ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flare_ray import registry
from flare_ray.errors import InputError
from flare_ray.training.row_checks import ENOUGH, absent_labels, check_training_labels
from flare_ray.training.workbench import Workbench

NUSAX = registry.load("tasks", "nusax")
TWO = ("negative", "positive")
Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]


def labelled(count: int, labels: tuple[str, ...] = TWO) -> pa.Table:
    return pa.table(
        {
            "id": [str(row) for row in range(count)],
            "label": [labels[row % len(labels)] for row in range(count)],
        }
    )


def test_training_rows_must_have_every_label() -> None:
    with pytest.raises(InputError, match="neutral: no row of the ace train split has this label"):
        check_training_labels(NUSAX, labelled(ENOUGH), "ace", "train")
    check_training_labels(NUSAX, labelled(ENOUGH, NUSAX.labels), "ace", "train")
    check_training_labels(NUSAX, labelled(ENOUGH - 1), "ace", "train")  # as after --limit
    check_training_labels(NUSAX, labelled(ENOUGH), "ace", "validation")
    assert absent_labels(NUSAX, labelled(4)) == ["neutral"]
    assert absent_labels(registry.load("tasks", "tydiqa"), pa.table({"id": ["1"]})) == []


def write_nusax(folder: Path, start: int) -> None:
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = [(start + row, f"words {row}", NUSAX.labels[row % 3]) for row in range(120)]
            csv.writer(stream).writerows([("id", "text", "label"), *rows])


@pytest.mark.parametrize("method", ["flare", "translate_test"])
def test_a_split_of_other_ids_than_english_is_refused(
    open_raw: Open, settings_of: Settings, tmp_path: Path, method: str
) -> None:
    write_nusax(tmp_path / "english", 0)
    write_nusax(tmp_path / "acehnese", 1000)
    bench = open_raw(data=tmp_path)
    with pytest.raises(InputError, match="none of the 120 rows of the ace test split has an English row"):
        bench.split(registry.load("methods", method), settings_of(method), "ace", "test")
    assert len(bench.split(registry.load("methods", "lora"), settings_of(), "ace", "test")) == 120


def write_squad(file: Path, numbers: list[int]) -> None:
    paragraphs = []
    for row_id, number in enumerate(numbers):
        answers = [{"text": str(1900 + number), "answer_start": 3}]
        qas = [{"id": f"q{row_id}", "question": "when?", "answers": answers}]
        paragraphs.append({"context": f"in {1900 + number}, {file.name}", "qas": qas})
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")


def test_questions_with_the_english_of_others_are_refused(
    open_raw: Open, settings_of: Settings, tmp_path: Path
) -> None:
    flare = registry.load("methods", "flare")
    write_squad(tmp_path / "xquad.en.json", list(range(60)))
    for name, numbers in (("ar", list(range(60))), ("th", list(range(59, -1, -1)))):
        write_squad(tmp_path / f"xquad.{name}.json", numbers)
    bench = open_raw(task="tydiqa", data=tmp_path)
    settings = settings_of("flare", task="tydiqa")
    assert len(bench.split(flare, settings, "ar", "train")) > 30
    with pytest.raises(InputError, match="answers with numbers share one with their English in 0 of"):
        bench.split(flare, settings, "th", "train")
