"""NusaX-senti: three-way sentiment in ten Indonesian languages and Indonesian, human-translated row by row.

Winata et al., 2023 (https://aclanthology.org/2023.eacl-main.57); https://huggingface.co/datasets/indonlp/NusaX-senti.
500/100/400 rows per language, the same ids everywhere. A row of acehnese/train.csv:

    436,Ibu tom geukereuja bak Grab Indonesia,neutral
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from flare_ray.tables.reader import absent_columns, header, records
from flare_ray.tasks._classification import Classification
from flare_ray.tasks._hub import hub_rows
from flare_ray.tasks._rows import Row
from flare_ray.tasks.base import Hyperparameters, Part

_FILES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
_STEMS = {"train": ("train",), "validation": ("valid", "dev", "validation"), "test": ("test",)}
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".json")


class NusaX(Classification):
    """Macro F1 over negative, neutral, positive."""

    name = "nusax"
    hub = "indonlp/NusaX-senti"
    languages: ClassVar[dict[str, str]] = {
        "ace": "acehnese",
        "ban": "balinese",
        "bjn": "banjarese",
        "bug": "buginese",
        "jav": "javanese",
        "mad": "madurese",
        "min": "minangkabau",
        "nij": "ngaju",
        "sun": "sundanese",
        "ind": "indonesian",
    }
    left_out: ClassVar[dict[str, str]] = {
        "toba_batak": "bbc is left out as in the paper: NLLB does not cover it, translations are artefacts"
    }
    labels = ("negative", "neutral", "positive")
    text_columns = ("text",)
    metric = "macro_f1"

    def hyperparameters(self, architecture: str) -> Hyperparameters:
        """Table 5: 20 epochs for encoders and encoder-decoders, 5 for decoders."""
        return Hyperparameters(5 if architecture == "decoder" else 20, 64, 2e-4, 128)

    def prompt(self, row: Row) -> str:
        """`<text>`, newline, `Sentiment: `."""
        return f"{row['text']}\nSentiment: "

    def part(self, folder: Path, language: str, split: str) -> Part | None:
        """`<language>/{train,valid,test}.csv`, else another format; the folder has the language's name or a code."""
        folders = [place for name in self.aliases(language) if (place := folder / name).is_dir()]
        names = (stem + suffix for stem in _STEMS[split] for suffix in _SUFFIXES)
        files = (place / name for name in (_FILES[split], *names) for place in folders)
        return next((Part(file) for file in files if file.is_file()), None)

    def usual_file(self, language: str, split: str) -> str:
        """`acehnese/valid.csv`."""
        return f"{self.folder_name('', language)}/{_FILES[split]}"

    def languages_in(self, folder: Path) -> Iterable[str]:
        """One folder each."""
        return [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."]

    def file_rows(self, file: Path, language: str, split: str, *, labelled: bool = True) -> Iterator[Row]:
        """Columns id, text, label of a CSV; a translation needs only its text."""
        columns = header(file)
        wanted = ("id", "text", "label") if labelled else self.text_columns
        absent = [column for column in wanted if column not in columns]
        if absent:
            raise absent_columns(file, columns, absent)
        for number, record in enumerate(records(file), start=1):
            fallback = f"(row {number})" if labelled or "id" in columns else None
            row_id = record.get("id", fallback)
            yield {**record, "id": row_id if row_id is None else str(row_id)}

    def hub_rows(self, reference: str, language: str, split: str) -> Iterator[Row]:
        """A config per language code."""
        for row in hub_rows(reference, language, split, ("id", "text", "label")):
            yield {**row, "id": str(row["id"])}


TASK = NusaX()
