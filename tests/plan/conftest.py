from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_study, write_sweep

from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Sweep


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    """A valid sweep's fields, with its data and checkpoint in tmp_path."""
    return write_study(tmp_path)


@pytest.fixture
def load(tmp_path: Path, fields: dict[str, Any]) -> Callable[..., Sweep]:
    """Loads the sweep from a file, with fields replaced and overrides applied."""

    def load(*overrides: str, **changes: Any) -> Sweep:
        return load_sweep(write_sweep(tmp_path / "sweep.yaml", {**fields, **changes}), overrides)

    return load


@pytest.fixture
def grid(load: Callable[..., Sweep]) -> Callable[..., Grid]:
    """The grid of that sweep."""
    return lambda *overrides, **changes: expand(load(*overrides, **changes))
