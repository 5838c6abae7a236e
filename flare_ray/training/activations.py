"""How large source and target are in a trained run's bottlenecks: what Figures 4 to 6 of the paper are drawn from.

    measured = measure(engine, model, feeder)       # None where the model fuses nothing
    pq.write_table(measured, out / "activations.parquet")

One row per mean of |S|, |T| or |h| (`stream`: source, target, fused), of three kinds:

- `position` and `row` null: over all tokens and features of a fused module (Figure 5), with its std over the same;
- `position` alone: over the rows that reach that token, in a stack's first fused module (Figure 4);
- `position` and `row` (an instance's id): of one token, there too (Figure 6).

Positions count real tokens from 0. `tokens` is how many tokens a mean is over; where there is none (a source that is
shorter, or left out) there is no row. Some tens of kB.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch

from flare_ray.fusion import capture_activations
from flare_ray.fusion.capture import STREAMS, Activations
from flare_ray.training.feeder import Feeder

FILE = "activations.parquet"
ROWS = 32
"""Test rows that are read, the first ones of the corpus; of a row cut in windows the first window."""
INSTANCES = 4
"""Rows whose tokens are kept one by one."""
POSITIONS = 128
"""Tokens of a row that are kept by position."""
_SCHEMA = pa.schema(
    [
        ("module", pa.string()),
        ("stack", pa.string()),
        ("layer", pa.int32()),
        ("stream", pa.string()),
        ("row", pa.string()),
        ("position", pa.int32()),
        ("tokens", pa.int32()),
        ("mean", pa.float32()),
        ("std", pa.float32()),
    ]
)

log = logging.getLogger(__name__)


def measure(engine: Any, model: Any, feeder: Feeder) -> pa.Table | None:
    """Passes the first test rows through a trained model once more and measures its bottlenecks.

    engine: what is called; model: what is inside, in the state that is to be measured. Draws no random number and
    leaves nothing behind. None for a model without fusion, and, with a warning in the log, where it cannot be done:
    no run fails for it. Every worker of a group must call it.
    """
    if getattr(getattr(model, "base_model", None), "flow", None) is None:
        return None
    try:
        chosen = first_sequences(feeder)
        ids = feeder.split.target.table["id"].slice(0, len(chosen)).to_pylist()
        return _table(_captured(engine, model, feeder, chosen), [str(one) for one in ids])
    except Exception:
        log.warning("this run's activations could not be measured; its results stand", exc_info=True)
        return None


def first_sequences(feeder: Feeder) -> list[int]:
    """The first sequence of each of the first rows."""
    found: dict[int, int] = {}
    for sequence, row in enumerate(feeder.split.target.row_of.tolist()):
        if row < ROWS:
            found.setdefault(row, sequence)
    return [found[row] for row in sorted(found)]


def _captured(engine: Any, model: Any, feeder: Feeder, chosen: list[int]) -> Activations:
    """Passes of no more rows than one in training, so that they fit where that did."""
    per_pass = min(ROWS, feeder.bench.group.micro_batch or ROWS)
    training = engine.training
    engine.eval()
    try:
        with torch.inference_mode(), capture_activations(model, rows=ROWS) as activations:
            for start in range(0, len(chosen), per_pass):
                engine(**feeder.inputs(chosen[start : start + per_pass]))
    finally:
        engine.train(training)
    return activations


def _table(activations: Activations, ids: list[str]) -> pa.Table:
    means = activations.means()
    rows = [_layer(one, stream) for one in means for stream in STREAMS]
    first: dict[str, dict[str, Any]] = {}
    for one in sorted(means, key=lambda one: one["layer"]):
        first.setdefault(one["stack"], one)
    for one in first.values():
        rows += _tokens(one, activations.tokens[one["module"]], ids)
    return pa.Table.from_pylist([row for row in rows if row["tokens"]], _SCHEMA)


def _layer(one: dict[str, Any], stream: str) -> dict[str, Any]:
    of = {"mean": one[stream], "std": one[f"{stream}_std"], "tokens": one[f"{stream}_tokens"]}
    return _place(one) | {"stream": stream} | of


def _tokens(
    one: dict[str, Any], rows: list[dict[str, torch.Tensor]], ids: list[str]
) -> Iterator[dict[str, Any]]:
    """By position, over all rows; then token by token of the first ones."""
    for stream in STREAMS:
        sizes = [row[stream][:POSITIONS].tolist() for row in rows]
        at = defaultdict(list)
        for row in sizes:
            for position, size in enumerate(row):
                if not math.isnan(size):
                    at[position].append(size)
        place = _place(one) | {"stream": stream}
        for position, found in sorted(at.items()):
            yield place | {"position": position, "tokens": len(found), "mean": sum(found) / len(found)}
        for name, row in list(zip(ids, sizes, strict=True))[:INSTANCES]:
            for position, size in enumerate(row):
                there = not math.isnan(size)
                yield place | {"row": name, "position": position, "tokens": int(there), "mean": size}


def _place(one: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("module", "stack", "layer")}
