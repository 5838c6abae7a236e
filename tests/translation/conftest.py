"""The small sandbox's translator, and stores to translate into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flare_ray.store import Store


@pytest.fixture
def settings(small_sandbox: Path) -> dict[str, Any]:
    """What a translator is loaded with: the small sandbox's, which has hardly learned, over real classes."""
    return {
        "model": "small",
        "checkpoint": str(small_sandbox / "models" / "sandbox-nllb"),
        "backend": "transformers",
        "beams": 1,
        "max_length": 24,
        "precision": "fp32",
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, small_sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))
