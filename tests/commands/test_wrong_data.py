"""`flare-ray doctor` names every kind of wrong data, checkpoint and length before Ray starts, all in one message."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import LABELS, write_checkpoint, write_csv, write_sweep, write_tokenizer
from typer.testing import CliRunner

from flare_ray.cli import app

ROWS = {"train": 40, "valid": 20, "test": 20}
Fields = dict[str, Any]


@pytest.fixture
def fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fields:
    """A sweep over local rows and a local checkpoint that doctor has nothing to say against."""
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for language in ("english", "acehnese", "madurese"):
        for split in ROWS:
            write_csv(tmp_path / "data" / language / f"{split}.csv", table(language, split))
    write_checkpoint(tmp_path / "checkpoint")
    return {
        "name": "wrong",
        "models": [{"name": "tiny", "family": "xlm_roberta", "checkpoint": str(tmp_path / "checkpoint")}],
        "tasks": ["nusax"],
        "languages": ["ace", "mad"],
        "methods": ["lora", "flare"],
        "rank": [4],
        "seeds": [1],
        "data": {"nusax": str(tmp_path / "data")},
        "storage": str(tmp_path / "results"),
    }


def table(language: str, split: str) -> list[list[str]]:
    """Rows with labels that only the split and the row decide."""
    labels = random.Random(split)
    return [
        [str(number), f"{language} words of {split} row {number}", labels.choice(LABELS)]
        for number in range(ROWS[split])
    ]


def doctor(tmp_path: Path, fields: Fields) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", str(write_sweep(tmp_path / "sweep.yaml", fields))])
    return done.exit_code, " ".join((done.output + done.stderr).split())


def rewrite(path: str, change: Callable[[list[list[str]]], Any]) -> Callable[[Path, Fields], Any]:
    """Change the rows of a file of `data/`."""

    def fault(folder: Path, fields: Fields) -> None:
        language, name = path.split("/")
        rows = table(language, name)
        write_csv(folder / "data" / language / f"{name}.csv", change(rows) or rows)

    return fault


def text(path: str, content: str) -> Callable[[Path, Fields], Any]:
    """Write a file of its own."""

    def fault(folder: Path, fields: Fields) -> None:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    return fault


def gone(*paths: str) -> Callable[[Path, Fields], Any]:
    return lambda folder, fields: [(folder / path).unlink() for path in paths]


def change(**values: Any) -> Callable[[Path, Fields], Any]:
    return lambda folder, fields: fields.update(values)


def config(**values: Any) -> Callable[[Path, Fields], Any]:
    return text("checkpoint/config.json", json.dumps({"model_type": "xlm-roberta", **values}))


def shifted(rows: list[list[str]]) -> None:
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        row[1:] = other[1:]


def two_labels(rows: list[list[str]]) -> None:
    for row in rows:
        row[2] = "positive" if row[2] == "neutral" else row[2]


def two_labels_everywhere(folder: Path, fields: Fields) -> None:
    for language in ("english", "acehnese", "madurese"):
        for split in ROWS:
            rewrite(f"{language}/{split}", two_labels)(folder, fields)


def test_is_train(folder: Path, fields: Fields) -> None:
    """The test splits are the first rows of train."""
    for language in ("english", "acehnese", "madurese"):
        write_csv(folder / "data" / language / "test.csv", table(language, "train")[:20])


test_is_train.__test__ = False  # type: ignore[attr-defined]

ERRORS: dict[str, tuple[Callable[[Path, Fields], Any], str]] = {
    "no tokenizer": (gone("checkpoint/tokenizer.json"), "without a tokenizer"),
    "no weights": (gone("checkpoint/model.safetensors"), "without weights"),
    "another family": (config(model_type="bert"), "family: bert"),
    "vocabulary of another model": (config(vocab_size=250_002), "embeddings for 250,002"),
    "a tokenizer without the letters": (
        lambda folder, fields: write_tokenizer(folder / "checkpoint", "abc "),
        "of the tokens of the ace nusax train split are unknown",
    ),
    "ids of a reset index": (
        rewrite("acehnese/test", shifted),
        "ace test split: labels equal the English rows'",
    ),
    "other ids": (
        rewrite("acehnese/test", lambda rows: [[f"x{row[0]}", *row[1:]] for row in rows]),
        "ids of the ace test split without an English row",
    ),
    "labels in another order": (
        rewrite(
            "acehnese/train", lambda rows: [[*row[:2], LABELS[2 - LABELS.index(row[2])]] for row in rows]
        ),
        "ace train split: labels equal the English rows'",
    ),
    "two labels of three": (two_labels_everywhere, "neutral"),
    "an unclosed quote": (
        text("data/acehnese/test.csv", 'id,text,label\n0,"words,neutral\n1,words,neutral\n'),
        "line 2",
    ),
    "a column twice": (text("data/acehnese/test.csv", "id,text,text,label\n0,a,b,neutral\n"), "text"),
    "invisible characters": (
        rewrite("acehnese/test", lambda rows: [[row[0], "\u200b\u00ad", row[2]] for row in rows]),
        "empty text",
    ),
    "files without files": (change(translation="files"), "no English translation of the ace test split"),
    "more tokens than positions": (config(max_position_embeddings=66), "positions for 64"),
    "an unknown FLORES code": (
        change(translation={"model": "nllb-200-3.3b"}, languages=["ace", "xyz_Latn"]),
        "xyz_Latn",
    ),
}
WARNINGS: dict[str, tuple[Callable[[Path, Fields], Any], str]] = {
    "weights as a pickle": (
        lambda folder, fields: (
            (folder / "checkpoint/model.safetensors").unlink(),
            (folder / "checkpoint/pytorch_model.bin").write_bytes(b"PK\3\4"),
        ),
        "pickles",
    ),
    "a file that nobody reads": (
        lambda folder, fields: write_csv(folder / "data/acehnese/testing2.csv", []),
        "testing2.csv",
    ),
    "a second folder of one language": (text("data/ban.test.csv", "id,text,label\n"), "ban.test.csv"),
    "test is train": (test_is_train, "20 of 20 test rows of ace are train rows too"),
}


def test_what_is_right_is_no_finding(tmp_path: Path, fields: Fields) -> None:
    code, output = doctor(tmp_path, fields)
    assert code == 0
    assert "checkpoints, rows and their pairs look right" in output


@pytest.mark.parametrize("fault", ERRORS)
def test_an_error_is_named_before_ray(fault: str, tmp_path: Path, fields: Fields) -> None:
    make, named = ERRORS[fault]
    make(tmp_path, fields)
    code, output = doctor(tmp_path, fields)
    assert code == 2, output
    assert named in output


@pytest.mark.parametrize("fault", WARNINGS)
def test_a_warning_stops_nothing(fault: str, tmp_path: Path, fields: Fields) -> None:
    make, named = WARNINGS[fault]
    make(tmp_path, fields)
    code, output = doctor(tmp_path, fields)
    assert named in output
    assert code == 0, output


def test_a_language_that_is_translated_as_another_one_is_named(tmp_path: Path, fields: Fields) -> None:
    """Only the hub, which is not asked by a plan, has the model."""
    file = write_sweep(tmp_path / "sweep.yaml", fields | {"translation": {"model": "nllb-200-3.3b"}})
    done = CliRunner().invoke(app, ["plan", str(file)])
    assert done.exit_code == 0
    assert "Madurese (mad) as Indonesian (ind_Latn)" in done.output


def test_all_that_is_wrong_is_one_message(tmp_path: Path, fields: Fields) -> None:
    faults = ("no tokenizer", "ids of a reset index", "more tokens than positions")
    for fault in faults:
        ERRORS[fault][0](tmp_path, fields)
    code, output = doctor(tmp_path, fields)
    assert code == 2
    assert all(re.search(re.escape(ERRORS[fault][1]), output) for fault in faults)
