"""Evaluation: every instance of a split predicted once, however many workers share the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from flare_ray.forms._features import Features
from flare_ray.forms.base import Prediction, best_windows
from flare_ray.tasks.base import Task
from flare_ray.training.batches import evaluation_rows
from flare_ray.training.feeder import Feeder

ROWS_PER_PASS = 64


def predict(model: Any, feeder: Feeder) -> list[Prediction]:
    """A prediction for each row of the feeder's split, the same on every worker."""
    bench, features, group = feeder.bench, feeder.split.target, feeder.bench.group
    sequences = evaluation_rows(feeder.lengths, group.workers, group.worker)
    per_pass = min(ROWS_PER_PASS, 2 * (group.micro_batch or ROWS_PER_PASS))
    synced = {"synced_gpus": True} if group.zero_stage == 3 and group.workers > 1 else {}
    mine: list[Prediction] = []
    model.eval()
    with torch.inference_mode():
        while len(mine) < len(sequences):
            chosen = sequences[len(mine) : len(mine) + per_pass]
            try:
                mine += feeder.form.predict(
                    model, feeder.inputs(chosen), features, chosen, bench.task, bench.tokenizer, synced
                )
            except torch.OutOfMemoryError:
                if len(chosen) == 1 or synced:
                    raise  # under ZeRO-3 other workers wait in a collective operation
                per_pass = -(-len(chosen) // 2)
    model.train()
    parts = [(sequences, mine)]
    if group.workers > 1:
        parts = [(sequences, mine)] * group.workers
        torch.distributed.all_gather_object(parts, (sequences, mine))
    found = dict(pair for part in parts for pair in zip(*part, strict=True))
    return best_windows(features.rows, features.row_of, [found[k] for k in range(len(features))])


def score(task: Task, table: pa.Table, predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The task's metrics, in points."""
    return task.score(task.gold(table), [prediction["prediction"] for prediction in predictions])


def predictions_table(task: Task, features: Features, predictions: Sequence[Prediction]) -> pa.Table:
    """One row per instance: id, gold (all accepted), prediction (null where nothing could be read), and what the
    form keeps beside them (logits; score and start of a span; what was generated)."""
    columns: dict[str, Any] = {
        "id": features.table["id"],
        "gold": pa.array([list(gold) for gold in task.gold(features.table)], pa.list_(pa.string())),
        "prediction": pa.array([one["prediction"] for one in predictions], pa.string()),
    }
    kept = [name for name in (predictions[0] if predictions else {}) if name != "prediction"]
    return pa.table(columns | {name: [one[name] for one in predictions] for name in kept})
