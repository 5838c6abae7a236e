"""NusaX-senti: three-way sentiment in ten Indonesian languages and Indonesian, human-translated row by row.

Winata et al., 2023 (https://aclanthology.org/2023.eacl-main.57); https://huggingface.co/datasets/indonlp/NusaX-senti.
500/100/400 rows per language, the same ids everywhere. A row of acehnese/train.csv:

    436,Ibu tom geukereuja bak Grab Indonesia,neutral
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from flare_ray.errors import InputError, Problem
from flare_ray.tasks.base import Hyperparameters, Task

if TYPE_CHECKING:
    import pyarrow as pa

_FILES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}


class NusaX(Task):
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

    def file(self, folder: Path, language: str, split: str) -> Path:
        """`<language>/{train,valid,test}.csv`."""
        return folder / language / _FILES[split]

    def read_file(self, file: Path) -> pa.Table:
        """Columns id, text, label of one CSV; labels by name."""
        import pyarrow as pa
        import pyarrow.csv as csv

        try:
            table = csv.read_csv(
                file,
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types={"id": pa.string(), "text": pa.string(), "label": pa.string()},
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            raise InputError(
                str(file), [Problem("", f"{file}: {error}", "a CSV of id,text,label")]
            ) from error
        absent = [column for column in ("id", "text", "label") if column not in table.column_names]
        if absent:
            found = f"{file} with the columns {', '.join(table.column_names)}"
            raise InputError(str(file), [Problem("", found, f"also {', '.join(absent)}")])
        return self._numbered(table, str(file))

    def read_hub(self, reference: str, language: str, split: str) -> pa.Table:
        """The hub's rows: a config per language code, labels as class indices in the same order."""
        import datasets

        name, _, revision = reference.partition("@")
        loaded = datasets.load_dataset(name, language, split=split, revision=revision or None)
        feature = loaded.features["label"]
        table = loaded.data.table
        if isinstance(feature, datasets.ClassLabel):
            import pyarrow as pa

            texts = pa.array(feature.int2str(table["label"].to_pylist()))
            table = table.set_column(table.column_names.index("label"), "label", texts)
        return self._numbered(table, f"{name} {language} {split}")

    def score(self, labels: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
        """Macro F1 and accuracy, in points."""
        from sklearn.metrics import accuracy_score, f1_score

        every = list(range(len(self.labels)))
        return {
            "macro_f1": 100
            * float(f1_score(labels, predictions, labels=every, average="macro", zero_division=0)),
            "accuracy": 100 * float(accuracy_score(labels, predictions)),
        }

    def _numbered(self, table: pa.Table, origin: str) -> pa.Table:
        """Label names as indices; a label that is none of the three is an error naming its row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(table["label"], pa.array(self.labels))
        if found.null_count:
            bad = table.filter(pc.is_null(found)).slice(0, 1).to_pylist()[0]
            wrong = Problem(
                "", f"{origin}: label {bad['label']!r} in row {bad['id']}", " | ".join(self.labels)
            )
            raise InputError(origin, [wrong])
        ids = pc.cast(table["id"], pa.string())
        return pa.table({"id": ids, "text": table["text"], "label": pc.cast(found, pa.int64())})


TASK = NusaX()
