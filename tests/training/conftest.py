import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray.training.engine import Group
from flare_ray.training.stages import train_base
from flare_ray.training.workbench import Workbench

torch.set_num_threads(1)

BASE = {
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "max_length": 32,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "dropout": 0.0,
    "precision": "fp32",
    "rank": 8,
    "alpha": 16,
}


@pytest.fixture
def settings() -> dict[str, Any]:
    """Of a short adapter training on the sandbox."""
    return {**BASE, "rank": 4, "alpha": 8, "fusion": "add_relu", "translation": "gold"}


@pytest.fixture(scope="session")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of one, which DeepSpeed needs."""
    import deepspeed

    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    place = tmp_path_factory.mktemp("group") / "file"
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def open_bench(small_sandbox: Path, distributed: None) -> Callable[..., Workbench]:
    """Opens a checkpoint on the small sandbox's sentiment corpus."""

    def make(checkpoint: Path, group: Group = Group(), **rest: Any) -> Workbench:  # noqa: B008
        data = str(small_sandbox / "data" / "nusax")
        return Workbench("xlm_roberta", str(checkpoint), "nusax", data, "fp32", group, **rest)

    return make


@pytest.fixture(scope="session")
def base_folder(
    small_sandbox: Path, open_bench: Callable[..., Workbench], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A base model trained on the sandbox's English."""
    folder = tmp_path_factory.mktemp("base")
    train_base(open_bench(small_sandbox / "models" / "sandbox-xlm-r"), BASE, 1, folder)
    yield folder
    shutil.rmtree(folder)
