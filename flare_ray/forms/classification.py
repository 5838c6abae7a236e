"""Sequence classification: a head over the whole text, or over a pair of texts (paper: XLM-R and mT5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from flare_ray.forms._features import Builder, Features
from flare_ray.forms._reading import USUAL, ReadingOptions
from flare_ray.forms.base import ROWS_PER_CALL, Form, Prediction
from flare_ray.plain_text import encode_text
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase


class Classification(Form):
    """Logits [b, labels]; the label with the highest wins."""

    name = "classification"
    auto_class = "AutoModelForSequenceClassification"
    task_type = "SEQ_CLS"

    def encode(
        self,
        task: Task,
        table: pa.Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        training: bool,
        reading: ReadingOptions = USUAL,
    ) -> Features:
        """One sequence per row; a text that is too long is cut at its end, of a pair the longer one first."""
        builder, truncated = Builder(), 0
        for start in range(0, table.num_rows, ROWS_PER_CALL):
            part = table.slice(start, ROWS_PER_CALL)
            texts: list[Any] = [part[column].to_pylist() for column in task.text_columns]
            encoded = encode_text(tokenizer, *texts, truncation=True, max_length=max_length)
            truncated += sum(bool(one.overflowing) for one in encoded.encodings or [])
            labels = [task.labels.index(label) for label in part["label"].to_pylist()]
            for row, (tokens, label) in enumerate(zip(encoded["input_ids"], labels, strict=True), start):
                builder.add(tokens, {"labels": label}, row=row)
        return builder.finish(table, {"truncated": truncated})

    def targets(self, features: Features, sequences: Sequence[int], width: int) -> dict[str, torch.Tensor]:
        """labels: long [b]."""
        return {"labels": torch.from_numpy(features.by_sequence["labels"][list(sequences)].astype("int64"))}

    def predict(
        self,
        model: Any,
        inputs: dict[str, Any],
        features: Features,
        sequences: Sequence[int],
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        synced: Mapping[str, Any],
    ) -> list[Prediction]:
        """The label's name, and the logits."""
        logits = model(**inputs).logits.float().cpu()
        best = logits.max(1)
        return [
            {"prediction": task.labels[label], "score": score, "logits": row}
            for label, score, row in zip(
                best.indices.tolist(), best.values.tolist(), logits.tolist(), strict=True
            )
        ]


FORM = Classification()
