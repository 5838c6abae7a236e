"""Stores in a folder and behind fsspec's interface to object stores; a record's files; a disk that is nearly full."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flare_ray.store import Store, open_store, patience


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "a" / "store"))
    return open_store(f"memory://{uuid.uuid4().hex}/store")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "a" / "store"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "adapter" / "deep").mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2], "label": ["a", "b"]}), folder / "predictions.parquet")
    (folder / "adapter" / "deep" / "weights.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB; skips where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)
