"""How questions are read: part of the identity of what it changes, where it is not the default, and of no more."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_checkpoint

from flare_ray.plan.grid import Grid

MakeGrid = Callable[..., Grid]
Change = dict[str, Any]


@pytest.fixture
def asked(grid: MakeGrid, tmp_path: Path) -> Callable[..., Grid]:
    """A grid of an encoder and a decoder on questions. answer: the gold answer of Telugu's test row."""
    models = [
        {"name": family, "family": family, "checkpoint": str(write_checkpoint(tmp_path / family, kind))}
        for family, kind in (("xlm_roberta", "xlm-roberta"), ("llama", "llama"))
    ]

    def make(answer: str = "one", context: str = "It is {}. End.", **changes: Any) -> Grid:
        for language in ("english", "telugu", "finnish"):
            for split in ("train", "dev", "test"):
                mine = (context, answer) if (language, split) == ("telugu", "test") else ("It is {}.", "one")
                _write(tmp_path / "questions" / f"{language}.{split}.json", *mine)
        fields = {
            "tasks": ["tydiqa"],
            "languages": ["te", "fi"],
            "models": models,
            "methods": ["zero_shot", "lora"],
            "data": {"tydiqa": str(tmp_path / "questions")},
            "seeds": [1],
        }
        return grid(**fields, **changes)

    return make


def _write(file: Path, context: str, answer: str) -> None:
    file.parent.mkdir(exist_ok=True)
    gold = {"text": answer, "answer_start": context.index("{}")}
    one = {"id": file.stem, "question": "What is it?", "answers": [gold]}
    paragraph = {"context": context.replace("{}", answer), "qas": [one]}
    file.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}), encoding="utf-8")


def changed(before: Grid, after: Grid) -> set[str]:
    pairs = zip(before.runs, after.runs, strict=True)
    return {new.cell.model.name for old, new in pairs if old.fingerprint != new.fingerprint}


def test_defaults_are_no_part_of_an_identity(asked: Callable[..., Grid]) -> None:
    before = asked()
    assert changed(before, asked(reading={"max_answer": 64, "windows": False})) == set()
    assert not any({"max_answer", "windows"} & set(run.settings) for run in before.runs)
    assert not any("texts" in work.identity for work in (*before.runs, *before.bases))


def test_windows_change_generating_models_and_a_longest_answer_both(asked: Callable[..., Grid]) -> None:
    before, windows = asked(), asked(reading={"windows": True})
    assert changed(before, windows) == {"llama"}
    assert {run.settings.get("windows") for run in windows.runs if run.cell.model.name == "llama"} == {True}
    assert [base.settings.get("windows") for base in windows.bases] == [None, True]
    longer = asked(reading={"max_answer": 200})
    assert changed(before, longer) == {"llama", "xlm_roberta"}
    assert all(work.settings["max_answer"] == 200 for work in (*longer.runs, *longer.bases))


def test_reading_changes_no_classification(grid: MakeGrid) -> None:
    before = grid()
    assert changed(before, grid(reading={"max_answer": 9, "windows": True})) == set()


def test_reading_is_overridden_for_models_and_languages(asked: Callable[..., Grid]) -> None:
    before = asked()
    after = asked(overrides=[{"model": "llama", "language": "te", "reading": {"windows": True}}])
    runs = {(run.cell.model.name, run.cell.language): run.settings.get("windows") for run in after.runs}
    assert runs[("llama", "te")] is True
    assert [value for key, value in runs.items() if key != ("llama", "te")] == [None] * 3
    assert [base.fingerprint for base in after.bases] == [base.fingerprint for base in before.bases]
    every = asked(overrides=[{"model": "llama", "reading": {"windows": True}}])
    assert [base.settings.get("windows") for base in every.bases] == [None, True]


@pytest.mark.parametrize(
    ("answer", "marked"),
    [
        ("one\ntwo", {"llama": ["several lines"]}),
        ("one\n", {}),
        (unicodedata.normalize("NFD", "Huế"), {"xlm_roberta": ["decomposed"]}),
        ("Huế హైదరాబాదు", {}),
        ("محم\u0651\u064eد", {}),  # marks in another order than composed text has them
    ],
)
def test_texts_that_are_read_otherwise_than_before_are_part_of_the_identity_of_what_reads_them(
    asked: Callable[..., Grid], answer: str, marked: dict[str, list[str]]
) -> None:
    made = asked(answer=answer)
    found = {
        (run.cell.model.name, run.cell.language): run.identity["texts"]
        for run in made.runs
        if "texts" in run.identity
    }
    assert found == {(model, "te"): kinds for model, kinds in marked.items()}
    assert not any("texts" in base.identity for base in made.bases)
