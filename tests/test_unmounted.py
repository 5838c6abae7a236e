"""A storage that goes away under a sweep: it ends with exit code 75 and the reason, and goes on when that is back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import kills

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Write = Callable[[dict[str, Any]], Path]
Fields = Callable[..., dict[str, Any]]


def start(file: Path, log: Path, storage: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flare_ray.sweep", str(file), "--set", f"storage={storage}"]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)


def wait_for(what: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("beneath", ["an empty folder", "nothing"])
def test_a_sweep_whose_storage_goes_away_ends_and_goes_on_when_it_is_back(
    beneath: str, sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> None:
    """Renamed away is what an unmounted disk is for the code: another folder, or none, in the same place."""
    file = write_sweep(sweep_of(seeds=[1, 2]))
    storage, away, log = tmp_path / "storage", tmp_path / "away", tmp_path / "log"
    driver = start(file, log, storage)
    wait_for(lambda: kills.records(storage) or driver.poll() is not None)
    assert driver.poll() is None, log.read_text()
    os.rename(storage, away)
    if beneath == "an empty folder":
        storage.mkdir()
    before = kills.records(away)
    assert driver.wait(240) == 75, log.read_text()
    said = log.read_text()
    assert f"sees no store at {storage}" in said
    assert "taken over by another driver" not in said
    assert "storage: 1 problem" in said.splitlines()[-2]
    written = [path for path in storage.rglob("*") if path.is_file()] if storage.exists() else []
    ours = ("bases", "runs", "corpora", "failures", "checkpoints", "leases", "searches", "reports", ".store")
    assert not [path for path in written if path.relative_to(storage).parts[0] in ours]
    assert kills.records(away) == before
    assert not list(away.glob("failures/*"))

    if storage.exists():
        os.rename(storage, tmp_path / "beneath")
    os.rename(away, storage)
    driver = start(file, log, storage)
    assert driver.wait(600) == 0, log.read_text()
    after = kills.records(storage)
    assert len(after) == 12
    assert {key: after[key] for key in before} == before, "nothing is trained twice"
    if beneath == "nothing":
        return
    calm = tmp_path / "calm"
    assert start(file, tmp_path / "calm.log", calm).wait(600) == 0
    quiet = kills.records(calm)
    assert {key: kills.outcome(one) for key, one in after.items()} == {
        key: kills.outcome(one) for key, one in quiet.items()
    }
