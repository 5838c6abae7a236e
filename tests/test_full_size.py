"""One training step of every trained method on every model of the study: shrunken anywhere, whole on a GPU."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray import registry

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "full_size.py"
METHODS = [name for name in registry.names("methods") if registry.load("methods", name).trains]
MODELS = ("xlm-r-large", "mt5-xl", "llama-3.1-8b", "gemma-2-9b")


@pytest.fixture(scope="module")
def full_size() -> Any:
    spec = importlib.util.spec_from_file_location("full_size", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("model", MODELS)
def test_shrunken_models_take_a_step_of_every_method(full_size: Any, model: str) -> None:
    found = full_size.measure([model], METHODS, small=True, device="cpu")
    assert [facts["method"] for facts in found] == METHODS
    assert all(math.isfinite(facts["loss"]) and facts["trained"] > 0 for facts in found)


@pytest.mark.gpu
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", MODELS)
def test_full_size_fits_an_80_gb_gpu(full_size: Any, model: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if torch.cuda.get_device_properties(0).total_memory < 75 * 2**30:
        pytest.skip("needs 80 GB")
    for facts in full_size.measure([model], METHODS, small=False, device="cuda"):
        print(facts)
        assert facts["peak_gib"] < 76
