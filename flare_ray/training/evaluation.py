"""Evaluation: every instance of a split scored once, however many workers share the work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from flare_ray.training.batches import evaluation_rows
from flare_ray.training.engine import Group
from flare_ray.training.workbench import Feeder

_ROWS_PER_PASS = 64


def predict(model: Any, feeder: Feeder, group: Group) -> np.ndarray:
    """Logits [rows, labels] in float32, the same on every worker; row k is the split's row k."""
    rows = evaluation_rows(len(feeder), group.workers, group.worker)
    logits = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), _ROWS_PER_PASS):
            inputs = feeder.inputs(rows[start : start + _ROWS_PER_PASS])
            inputs.pop("labels")
            logits.append(model(**inputs).logits.float().cpu().numpy())
    model.train()
    return _gather(np.concatenate(logits), rows, len(feeder), group)


def predictions_table(feeder: Feeder, logits: np.ndarray, labels: tuple[str, ...]) -> pa.Table:
    """One row per instance: id, label, prediction (names), and the logits."""
    target = feeder.split.target
    return pa.table(
        {
            "id": list(target.ids),
            "label": [labels[index] for index in target.labels],
            "prediction": [labels[index] for index in logits.argmax(1)],
            "logits": pa.FixedSizeListArray.from_arrays(
                pa.array(logits.ravel(), pa.float32()), logits.shape[1]
            ),
        }
    )


def _gather(logits: np.ndarray, rows: list[int], total: int, group: Group) -> np.ndarray:
    whole = np.empty((total, logits.shape[1]), np.float32)
    parts = [(rows, logits)]
    if group.workers > 1:
        parts = [(rows, logits)] * group.workers
        torch.distributed.all_gather_object(parts, (rows, logits))
    for part_rows, part in parts:
        whole[part_rows] = part
    return whole
