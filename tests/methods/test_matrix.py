"""Every method on every task and family: trained some steps and tested, on real files and tiny real models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from flare_ray import registry
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

FAMILIES = ["xlm_roberta", "mt5", "llama", "gemma2"]
TASKS = ["nusax", "xnli", "tydiqa"]
METHODS = registry.names("methods")
FAST = {
    ("xlm_roberta", "xnli"): ["zero_shot", "input_fusion", "x_mixup"],
    ("mt5", "tydiqa"): ["flare", "input_fusion", "flare_mt"],
    ("llama", "nusax"): ["translate_test", "lora", "x_mixup"],
    ("gemma2", "xnli"): ["flare"],
}
PRODUCT = [
    pytest.param(
        family,
        task,
        method,
        marks=[] if method in FAST.get((family, task), ()) else pytest.mark.slow,
        id=f"{family}-{task}-{method}",
    )
    for family in FAMILIES
    for task in TASKS
    for method in METHODS
]


@pytest.mark.parametrize(("family", "task", "name"), PRODUCT)
def test_a_run_trains_and_is_tested(
    based_bench: Callable[[str, str], Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    family: str,
    task: str,
    name: str,
) -> None:
    bench, method = based_bench(family, task), registry.load("methods", name)
    out = tmp_path / "run"
    record = train_run(bench, name, "qal", settings_of(name), 1, out)
    assert json.loads(json.dumps(record)) == record, "plain values, for the store"
    found = pq.read_table(out / "predictions.parquet")
    rows = bench.task.read(bench.subject.data, "qal", "test").table
    assert found["id"].to_pylist() == rows["id"].to_pylist()
    assert found["gold"].to_pylist() == [list(gold) for gold in bench.task.gold(rows)] or (
        name == "translate_test" and task == "tydiqa"
    )
    assert 0 <= record["metrics"][bench.task.metric] <= 100
    again = bench.task.score(bench.task.gold(rows), found["prediction"].to_pylist())
    assert again == record["metrics"] or (name == "translate_test" and task == "tydiqa")
    assert (out / "adapter").is_dir() == method.trains
    assert bool(record["history"]) == method.trains
    assert all(np.isfinite(entry["train_loss"]) for entry in record["history"])
    if bench.posed.form.name != "generation":
        assert record["metrics"]["unparsed"] == 0


@pytest.mark.parametrize("name", ["flare", "input_fusion", "x_mixup"])
def test_the_same_seed_gives_the_same_run(
    based_bench: Callable[[str, str], Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    name: str,
) -> None:
    bench = based_bench("xlm_roberta", "xnli")
    tables = []
    for place in "ab":
        train_run(bench, name, "qal", settings_of(name), 3, tmp_path / place)
        tables.append(pq.read_table(tmp_path / place / "predictions.parquet"))
    assert tables[0]["prediction"].to_pylist() == tables[1]["prediction"].to_pylist()
    np.testing.assert_allclose(tables[0]["logits"].to_pylist(), tables[1]["logits"].to_pylist(), atol=1e-5)
