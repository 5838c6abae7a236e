"""A storage that goes away under a sweep: it ends with exit code 75 and the reason, and goes on when that is back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flare_ray.cache import cache_folder
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


class Disk:
    """A storage folder that can be taken away: a mount, or a folder that is renamed, which is alike for the code."""

    def __init__(self, storage: Path, mounted: bool):
        self.storage, self.mounted = storage, mounted
        self.disk = storage.with_name("disk")
        if mounted:
            self.disk.mkdir()
            storage.mkdir()
            self._mount()

    def _mount(self) -> None:
        try:
            command = ["mount", "--bind", str(self.disk), str(self.storage)]
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("nothing can be mounted here")

    def unmount(self) -> None:
        if self.mounted:  # lazily: files in it are open
            subprocess.run(["umount", "-l", str(self.storage)], check=True)
        else:
            os.rename(self.storage, self.disk)
            self.storage.mkdir()

    def back(self) -> None:
        if self.mounted:
            self._mount()
        else:
            os.rename(self.storage, self.storage.with_name("beneath"))
            os.rename(self.disk, self.storage)


@pytest.fixture(params=["a mount", "a folder"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "storage", request.param == "a mount")
    yield made
    if made.mounted:
        subprocess.run(["umount", "-l", str(made.storage)], check=False, capture_output=True)
    for note in (cache_folder() / "mounts").glob("*.json"):
        if json.loads(note.read_text())["storage"] == str(made.storage):
            note.unlink()


def test_a_sweep_whose_storage_goes_away_ends_and_goes_on_when_it_is_back(
    disk: Disk, sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> None:
    file = write_sweep(sweep_of(seeds=[1, 2]))
    storage, log = disk.storage, tmp_path / "log"
    driver = start(file, log, storage)
    wait_for(lambda: kills.records(storage) or driver.poll() is not None)
    assert driver.poll() is None, log.read_text()
    disk.unmount()
    before = kills.records(disk.disk)
    assert driver.wait(240) == 75, log.read_text()
    said = log.read_text()
    assert f"sees no store at {storage}" in said
    assert "taken over by another driver" not in said
    assert "storage: found" in said.splitlines()[-1]
    ours = ("bases", "runs", "corpora", "failures", "checkpoints", "leases", "searches", "reports", ".store")
    written = [path.relative_to(storage) for path in storage.rglob("*") if path.is_file()]
    assert not [path for path in written if path.parts[0] in ours], "Ray and MLflow may leave files of theirs"
    assert kills.records(disk.disk) == before
    assert not list(disk.disk.glob("failures/*"))

    if disk.mounted:  # as when the operator's script starts it again and again
        assert start(file, log, storage).wait(240) == 75, log.read_text()
        assert f"nothing is mounted at {storage}" in log.read_text()
    disk.back()
    assert start(file, log, storage).wait(600) == 0, log.read_text()
    after = kills.records(storage)
    assert len(after) == 12
    assert {key: after[key] for key in before} == before, "nothing is trained twice"
    if disk.mounted:
        return
    assert start(file, tmp_path / "calm.log", tmp_path / "calm").wait(600) == 0
    quiet = kills.records(tmp_path / "calm")
    assert {key: kills.outcome(one) for key, one in after.items()} == {
        key: kills.outcome(one) for key, one in quiet.items()
    }
