"""What a GPU runs by default, on a CPU: bf16 passes, the micro-batch trial before them, and checkpointed blocks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from flare_ray import registry
from flare_ray.training import stages
from flare_ray.training.engine import Group
from flare_ray.training.memory import fitting_micro_batch
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]

TRAINED = [name for name in registry.names("methods") if registry.load("methods", name).trains]
FAST = {("xlm_roberta", "tydiqa", "x_mixup"), ("mt5", "nusax", "flare"), ("llama", "nusax", "flare_mt")}
PRODUCT = [
    pytest.param(*one, marks=[] if one in FAST else pytest.mark.slow, id="-".join(one))
    for one in (
        (family, task, method)
        for family in ("xlm_roberta", "mt5", "llama")
        for task in ("nusax", "tydiqa")
        for method in TRAINED
    )
]


@pytest.mark.parametrize(("family", "task", "method"), PRODUCT)
def test_bf16_is_near_fp32_and_its_trial_pass_leaves_no_mark(
    family: str,
    task: str,
    method: str,
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trial comes before DeepSpeed casts: with adapters in fp32 on weights in bf16."""
    settings = settings_of(
        method, family, task, dropout=0.1
    )  # a trial draws numbers that training must not miss
    tried: list[int] = []
    fit = stages.fit

    def after_a_trial(model: Any, train: Any, *rest: Any) -> Any:
        tried.append(fitting_micro_batch(model, train, settings, Group()))
        return fit(model, train, *rest)

    records = [train_run(open_bench(family, task), method, "qal", settings, 1, tmp_path / "fp32")]
    bench = open_bench(family, task)
    bench.subject = replace(bench.subject, precision="bf16")
    half = {**settings, "precision": "bf16"}
    records.append(train_run(bench, method, "qal", half, 1, tmp_path / "bf16"))
    monkeypatch.setattr(stages, "fit", after_a_trial)
    records.append(train_run(bench, method, "qal", half, 1, tmp_path / "tried"))
    assert tried == [settings["batch_size"]]
    losses = [record["history"][-1]["train_loss"] for record in records]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[2] == losses[1]
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in ("bf16", "tried")]
    assert tables[0].equals(tables[1])
    assert {parameter.dtype for parameter in bench.model().parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("family", "method"),
    [("xlm_roberta", "flare"), ("mt5", "flare"), ("llama", "flare"), ("llama", "x_mixup")],
)
def test_checkpointed_blocks_change_nothing_but_rounding(
    family: str, method: str, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of(method, family)
    found = []
    for checkpointed in (False, True):
        bench = open_bench(family, group=Group(gradient_checkpointing=checkpointed))
        record = train_run(bench, method, "qal", settings, 1, tmp_path / str(checkpointed))
        table = pq.read_table(tmp_path / str(checkpointed) / "predictions.parquet")
        found.append((record["history"][-1]["train_loss"], table["prediction"].to_pylist()))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-4)
    assert found[1][1] == found[0][1]
