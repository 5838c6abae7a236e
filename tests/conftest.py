"""What tests share: the small sandbox (real files, a real tiny XLM-R that has hardly learned), and sweep files."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flare_ray.cache import cache_folder

# A shell's background jobs ignore Ctrl-C, and so would every program that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small_sandbox() -> Path:
    """The small sandbox's folder, built on first use (seconds) and kept in the cache."""
    from flare_ray.sandbox.build import ensure

    return ensure(cache_folder(), small=True)


@pytest.fixture(scope="session")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of one, which DeepSpeed needs: one for all tests, as it can be made only once."""
    import torch

    from flare_ray.training.engine import join_group

    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    place = tmp_path_factory.mktemp("group") / "file"
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    join_group("cpu")
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def sweep_of(small_sandbox: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A small valid sweep over the small sandbox's own files, with fields replaced."""
    fields = {
        "name": "small",
        "models": [
            {
                "name": "tiny",
                "family": "xlm_roberta",
                "checkpoint": str(small_sandbox / "models" / "sandbox-xlm-r"),
            }
        ],
        "tasks": ["nusax"],
        "languages": ["qal", "qtu"],
        "methods": ["zero_shot", "lora", "flare"],
        "rank": [4],
        "seeds": [1],
        "data": {"nusax": str(small_sandbox / "data" / "nusax")},
        "base": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32, "rank": 8},
        "training": {"epochs": 2, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32},
        "storage": str(tmp_path / "results"),
    }

    def make(**changes: Any) -> dict[str, Any]:
        return {**copy.deepcopy(fields), **changes}

    return make


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a sweep's fields to a YAML file."""

    def write(fields: dict[str, Any]) -> Path:
        file = tmp_path / "sweep.yaml"
        file.write_text(yaml.safe_dump(fields))
        return file

    return write
