"""An interrupted training goes on from its checkpoint and ends where it would have ended, to the bit."""

import json
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from flare_ray.store import Store
from flare_ray.store.files import Files
from flare_ray.training import checkpoints as checkpoints_module
from flare_ray.training.checkpoints import MANIFEST, Checkpoints, Keeper
from flare_ray.training.engine import Group
from flare_ray.training.fit import Diverged, Stopped
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]
NEVER = 1e9


def at_call(number: int) -> Callable[[], bool]:
    """Says yes when it is asked for the n-th time: after n steps of one process."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= number


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the result, without times."""
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    found = {k: record[k] for k in ("validation", "chosen_step", "metrics", "rows", "data")}
    return found | {"curve": curve}


def outcome(record: dict[str, Any], out: Path) -> tuple[Any, ...]:
    """Everything that must be equal: the record, the predictions, the adapter's bytes."""
    adapters = sorted((out / "adapter").glob("*.safetensors"))
    assert adapters
    table = pq.read_table(out / "predictions.parquet").to_pylist()
    return told(record), table, [file.read_bytes() for file in adapters]


def in_pieces(
    run: Callable[[Keeper], dict[str, Any]], store: Store, *steps: int
) -> tuple[dict[str, Any], Keeper]:
    """Stops a run after so many steps of each process, and lets the last one finish."""
    keeper = Keeper(store, "work", NEVER)
    for number in steps:
        with pytest.raises(Stopped, match="its checkpoint is kept"):
            run(replace(keeper, stop_requested=at_call(number)))
        for draws in (torch.rand, np.random.rand):  # another process has drawn other numbers
            draws(17)
        random.random()
    return run(keeper), keeper


PLAIN = {"epochs": 2, "validate_every": 2, "dropout": 0.1, "batch_size": 16}
"""64 rows: 4 steps an epoch, a validation after every second one."""


@pytest.mark.parametrize(
    ("family", "task", "method", "group", "precision", "steps"),
    [
        ("xlm_roberta", "nusax", "flare", Group(micro_batch=5), "fp32", (1, 1, 3)),
        ("xlm_roberta", "nusax", "x_mixup", Group(), "fp32", (3,)),
        ("llama", "nusax", "lora", Group(zero_stage=1, micro_batch=6), "bf16", (2, 3)),
        ("llama", "nusax", "flare", Group(zero_stage=2), "fp32", (4,)),
        ("xlm_roberta", "nusax", "lora", Group(zero_stage=3), "bf16", (1, 4)),
        ("mt5", "nusax", "flare", Group(), "bf16", (8,)),
    ],
)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    family: str,
    task: str,
    method: str,
    group: Group,
    precision: str,
    steps: tuple[int, ...],
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
) -> None:
    settings = settings_of(method, family, task, precision=precision, **PLAIN)

    def run(keeper: Keeper | None, out: Path = tmp_path / "pieces") -> dict[str, Any]:
        bench = open_bench(family, task, group=group)
        bench.subject = replace(bench.subject, precision=precision)
        return train_run(bench, method, "qal", settings, 3, out, keeper=keeper)

    whole = run(None, tmp_path / "whole")
    pieces, keeper = in_pieces(run, Store(str(tmp_path / "store")), *steps)
    assert outcome(pieces, tmp_path / "pieces") == outcome(whole, tmp_path / "whole")
    assert pieces["cost"]["resumptions"] == len(steps)
    assert keeper.store.names(keeper.place) == [str(sum(steps))], "only the newest is kept"
