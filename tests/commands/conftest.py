"""Fixtures of tests of commands: a finished study, and surroundings that fail as real ones do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_study import write_study, write_sweep

from tests.commands.boundary import capabilities, fill, set_capabilities


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a sweep all of whose runs are finished; its storage is the folder `results` beside it."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = write_sweep(tmp_path / "sweep.yaml", write_study(tmp_path))
    fill(file, tmp_path)
    return file


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """For root: what the modes of files forbid is forbidden to this thread, and to the programs that it starts."""
    before = capabilities()
    if os.geteuid() == 0:
        set_capabilities(0, *before[1:])
    try:
        yield
    finally:
        if os.geteuid() == 0:
            set_capabilities(*before)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes file systems of their own, by their mount options; skips where none can be mounted."""
    made: list[Path] = []

    def make(options: str) -> Path:
        place = tmp_path / f"disk-{len(made)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("no file system can be mounted here")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "-l", place], check=True)
