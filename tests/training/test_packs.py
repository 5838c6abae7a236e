"""A pack's runs leave each other the memory: nothing of a finished run stays."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray.training import stages
from flare_ray.training.engine import Group
from flare_ray.training.fit import Diverged
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """Weak references to every model that a training begins with."""
    models: list[weakref.ref[Any]] = []
    fit = stages.fit

    def watched(model: Any, *rest: Any) -> Any:
        models.append(weakref.ref(model))
        return fit(model, *rest)

    monkeypatch.setattr(stages, "fit", watched)
    return models


def alive(models: list[weakref.ref[Any]]) -> list[bool]:
    return [model() is not None for model in models]


@pytest.mark.parametrize("stage", [0, pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_a_finished_run_leaves_no_model_behind(
    stage: int, open_bench: Open, settings_of: Settings, tmp_path: Path, trained: list[weakref.ref[Any]]
) -> None:
    """DeepSpeed's hooks and caches would keep each run's weights, gradients and optimiser for good."""
    bench, linear = open_bench(group=Group(zero_stage=stage)), torch.nn.functional.linear
    for method in ("lora", "x_mixup") if stage in (0, 3) else ("flare", "flare_mt"):
        train_run(bench, method, "qal", settings_of(method), 1, tmp_path / method)
        assert trained
        assert not any(alive(trained)), method
        assert torch.nn.functional.linear is linear, "ZeRO-3 has one that rounds otherwise"


def test_a_base_model_is_gone_before_it_is_merged(
    open_raw: Open,
    settings_of: Settings,
    tmp_path: Path,
    trained: list[weakref.ref[Any]],
) -> None:
    bench, load, seen = open_raw(), None, []
    load = bench.load_base

    def loaded(quantization: str | None = None) -> Any:
        seen.append(alive(trained))
        return load(quantization)

    bench.load_base = loaded  # type: ignore[method-assign]
    train_base(bench, settings_of(), 1, tmp_path)
    assert seen == [[], [False]], "the merge has the memory to itself"


@pytest.mark.parametrize("stage", [0, 2])
def test_a_failed_run_leaves_no_model_behind(
    stage: int, open_bench: Open, settings_of: Settings, tmp_path: Path, trained: list[weakref.ref[Any]]
) -> None:
    bench = open_bench(group=Group(zero_stage=stage))
    diverging = settings_of(learning_rate=1e30, max_grad_norm=1e30)
    with pytest.raises(Diverged):
        train_run(bench, "lora", "qal", diverging, 1, tmp_path / "failed")
    train_run(bench, "lora", "qal", settings_of(), 1, tmp_path / "next")
    assert alive(trained) == [False, False]


def test_an_attempt_that_ran_out_of_memory_is_gone_before_the_next(
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
    trained: list[weakref.ref[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, fit, found = open_bench(group=Group(zero_stage=2)), stages.fit, []

    def small(model: Any, *rest: Any) -> Any:
        found.append(alive(trained))
        if len(found) == 1:

            def full(*_: Any) -> None:
                raise torch.OutOfMemoryError("CUDA out of memory")

            model.register_forward_hook(full)
        return fit(model, *rest)

    monkeypatch.setattr(stages, "fit", small)
    train_run(bench, "lora", "qal", settings_of(), 1, tmp_path)
    assert found == [[], [False]]
