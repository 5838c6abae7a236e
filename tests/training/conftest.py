"""Benches, settings and base models on the small sandbox: real tiny models of every family, real DeepSpeed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray import registry
from flare_ray.training.engine import Group
from flare_ray.training.stages import train_base
from flare_ray.training.workbench import Subject, Workbench

torch.set_num_threads(1)

CHECKPOINTS = {"xlm_roberta": "sandbox-xlm-r", "mt5": "sandbox-mt5", "llama": "sandbox-llama"}
COMMON = {
    "epochs": 1,
    "batch_size": 24,
    "learning_rate": 1e-3,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "dropout": 0.0,
    "precision": "fp32",
    "rank": 4,
    "alpha": 8,
    "validate_every": None,
    "fusion": "add_relu",
    "translation": "gold",
}


@pytest.fixture(scope="session")
def settings_of(small_sandbox: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a short training: of a method with its default options, with fields replaced."""

    def make(method: str = "lora", family: str = "xlm_roberta", task: str = "nusax", **changes: Any) -> Any:
        options: dict[str, Any] = {}
        if method == "flare_mt":
            options["mt_model"] = str(small_sandbox / "models" / "sandbox-nllb")
        options = registry.load("methods", method).Options(**options).model_dump()
        length = 32 if task == "nusax" and family != "llama" else 96
        return {**COMMON, "max_length": length, **options, **changes}

    return make


@pytest.fixture(scope="session")
def open_raw(small_sandbox: Path, distributed: None) -> Callable[..., Workbench]:
    """Opens a checkpoint, the sandbox's own by default, on one of its tasks."""

    def make(
        family: str = "xlm_roberta",
        task: str = "nusax",
        group: Group = Group(),  # noqa: B008
        checkpoint: Path | None = None,
        data: Path | None = None,
        source_cache_mb: float = 2048,
        quantization: str = "none",
        limit: int | None = None,
        **rest: Any,
    ) -> Workbench:
        checkpoint = checkpoint or small_sandbox / "models" / CHECKPOINTS[family]
        data = data or small_sandbox / "data" / task
        subject = Subject(family, str(checkpoint), task, str(data), quantization=quantization, limit=limit)
        return Workbench(subject, group, source_cache_mb, **rest)

    return make


@pytest.fixture(scope="session")
def base_of(
    open_raw: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], Path]:
    """A folder with a family's base model, trained on a task's English once a session."""
    made: dict[tuple[str, str], Path] = {}

    def find(family: str, task: str) -> Path:
        if (family, task) not in made:
            folder = tmp_path_factory.mktemp(f"base-{family}-{task}")
            settings = settings_of("lora", family, task, rank=8, alpha=16)
            train_base(open_raw(family, task), settings, 1, folder)
            made[family, task] = folder
        return made[family, task]

    return find


@pytest.fixture(scope="session")
def open_bench(
    open_raw: Callable[..., Workbench], base_of: Callable[[str, str], Path]
) -> Callable[..., Workbench]:
    """Opens a trained base model on the task it was trained on."""

    def make(family: str = "xlm_roberta", task: str = "nusax", **rest: Any) -> Workbench:
        return open_raw(family, task, checkpoint=base_of(family, task), **rest)

    return make


@pytest.fixture
def own_cache(tmp_path: Path, small_sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has nothing yet; the sandbox stays where it is."""
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def without_dropout() -> Callable[[Workbench], Workbench]:
    """Makes a bench's base deterministic in training: dropout draws differ with the number of passes."""

    def change(bench: Workbench) -> Workbench:
        bench._base = bench.load_base()
        for module in bench._base.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if hasattr(bench._base.config, name):
                setattr(bench._base.config, name, 0.0)
        return bench

    return change
