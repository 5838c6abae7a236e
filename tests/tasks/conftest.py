"""Each test of this folder has a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def real() -> Path:
    """Real files of the three corpora, where they lie beside the project."""
    if not DATA.is_dir():
        pytest.skip(f"no {DATA}")
    return DATA
