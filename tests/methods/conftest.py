"""Workbenches over the small sandbox for any family and task, with base models trained for some steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray import registry
from flare_ray.methods.base import Posed
from flare_ray.training.engine import Group
from flare_ray.training.stages import train_base
from flare_ray.training.workbench import Subject, Workbench

TINY = {
    "xlm_roberta": "sandbox-xlm-r",
    "mt5": "sandbox-mt5",
    "llama": "sandbox-llama",
    "gemma2": "sandbox-gemma2",
}
SETTINGS = {
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "max_length": 96,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "dropout": 0.0,
    "precision": "fp32",
    "rank": 8,
    "alpha": 16,
    "validate_every": None,
}


@pytest.fixture
def settings_of(small_sandbox: Path) -> Callable[..., dict[str, Any]]:
    """A method's settings as a run gets them, with its options."""

    def settings(name: str, **options: Any) -> dict[str, Any]:
        if name == "flare_mt":
            options.setdefault("mt_model", str(small_sandbox / "models" / "sandbox-nllb"))
        own = registry.load("methods", name).Options(**options).model_dump()
        return {**SETTINGS, "fusion": "add_relu", "translation": "gold", **own}

    return settings


@pytest.fixture(scope="session")
def posed() -> Callable[[str, str], Posed]:
    """A task posed to a family."""

    def pose(family: str, task: str) -> Posed:
        one, other = registry.load("models", family), registry.load("tasks", task)
        return Posed(one, one.form(other.kind), other)

    return pose


@pytest.fixture(scope="session")
def group(distributed: None) -> Group:
    """The one worker of a process group."""
    torch.set_num_threads(1)
    return Group()


@pytest.fixture(scope="session")
def open_bench(small_sandbox: Path, group: Group) -> Callable[..., Workbench]:
    """A workbench on a family's tiny model, or on another checkpoint."""

    def make(family: str, task: str, checkpoint: Path | None = None) -> Workbench:
        place = checkpoint or small_sandbox / "models" / TINY[family]
        return Workbench(Subject(family, str(place), task, str(small_sandbox / "data" / task)), group)

    return make


@pytest.fixture(scope="session")
def based_bench(
    open_bench: Callable[..., Workbench], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Workbench]:
    """A workbench on a base model trained for an epoch; each family and task once."""
    made: dict[tuple[str, str], Workbench] = {}

    def make(family: str, task: str) -> Workbench:
        if (family, task) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{task}")
            record = train_base(open_bench(family, task), SETTINGS, 1, folder)
            assert registry.load("tasks", task).metric in record["metrics"]
            made[family, task] = open_bench(family, task, folder)
        return made[family, task]

    return make
