"""The files of a study that is only planned and read: CSVs in NusaX's format, a checkpoint, a sweep's fields."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

LABELS = ("negative", "neutral", "positive")
FILES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
IDS = {"train": range(0, 6), "validation": range(6, 9), "test": range(9, 12)}


def write_csv(
    file: Path, rows: Iterable[Iterable[Any]], header: Iterable[str] = ("id", "text", "label")
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def write_data(folder: Path, languages: Iterable[str] = ("english", "acehnese", "javanese")) -> Path:
    """Each language's splits, with the same ids in every language."""
    for language in languages:
        for split, ids in IDS.items():
            rows = [(number, f"{language} words of row {number}", LABELS[number % 3]) for number in ids]
            write_csv(folder / language / FILES[split], rows)
    return folder


def write_checkpoint(folder: Path) -> Path:
    """What a plan sees of a checkpoint; nothing here can be loaded as a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "xlm-roberta"}))
    (folder / "model.safetensors").write_bytes(bytes(range(64)))
    (folder / "README.md").write_text("about this model")
    return folder


def write_study(place: Path) -> dict[str, Any]:
    """Data and checkpoint under a folder, and the fields of a sweep over them: 28 runs of 14 cells."""
    return {
        "name": "small",
        "models": [
            {
                "name": "tiny",
                "family": "xlm_roberta",
                "checkpoint": str(write_checkpoint(place / "checkpoint")),
            }
        ],
        "tasks": ["nusax"],
        "languages": ["ace", "jav"],
        "methods": ["zero_shot", "lora", "flare"],
        "rank": [4, 8],
        "fusion": ["add_relu", "mul"],
        "seeds": [1, 2],
        "data": {"nusax": str(write_data(place / "data"))},
        "storage": str(place / "results"),
    }


def write_sweep(file: Path, fields: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(fields, sort_keys=False))
    return file
