"""The files of a study that is only planned and read: CSVs in NusaX's format, a checkpoint, a sweep's fields."""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

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


def write_translations(folder: Path, languages: Iterable[str] = ("acehnese", "javanese")) -> Path:
    """English translations beside the test splits that `write_data` writes."""
    for language in languages:
        rows = [(number, f"English of {language} row {number}", LABELS[number % 3]) for number in IDS["test"]]
        write_csv(folder / language / "test.english.csv", rows)
    return folder


def write_checkpoint(folder: Path, model_type: str = "xlm-roberta") -> Path:
    """What a plan sees of a checkpoint: a tokenizer of single characters; no weights that make a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    save_file({"weight": np.arange(16, dtype=np.float32)}, folder / "model.safetensors")
    write_tokenizer(folder)
    (folder / "README.md").write_text("about this model")
    return folder


def write_tokenizer(folder: Path, letters: str = string.printable) -> Path:
    """A tokenizer of single characters; what is none of `letters` is unknown to it."""
    vocabulary = {
        token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *sorted(set(letters))])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
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
