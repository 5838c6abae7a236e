"""A real sweep that is signalled, and one whose log, view and report cannot be written: its work is not touched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COMMAND = [sys.executable, "-m", "flare_ray.sweep"]
Sweep = Callable[..., dict[str, Any]]
Write = Callable[[dict[str, Any]], Path]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def records(storage: Path) -> list[Path]:
    return sorted(storage.glob("runs/*/record.json"))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_the_whole_terminal_stops_at_a_checkpoint(
    number: signal.Signals, sweep_of: Sweep, write_sweep: Write, tmp_path: Path
) -> None:
    training = {"epochs": 4000, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32}
    fields = sweep_of(methods=["lora"], languages=["qal"], training=training)
    storage, log = tmp_path / "results", tmp_path / "log"
    with log.open("wb") as out:
        driver = subprocess.Popen(
            [*COMMAND, str(write_sweep(fields))], stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 300
        while not list(storage.glob("bases/*/record.json")) and time.monotonic() < deadline:
            assert driver.poll() is None, log.read_text()
            time.sleep(0.5)
        time.sleep(5)  # the run is in its training
        family = [child.pid for child in psutil.Process(driver.pid).children(recursive=True)]
        os.killpg(driver.pid, number)  # as a terminal that closes does, `timeout`, and batch systems
        assert driver.wait(timeout=180) == 130, log.read_text()
        assert list(storage.glob("checkpoints/*/*/*")), log.read_text()
        assert not list(storage.glob("failures/*"))
        assert not records(storage)
        time.sleep(5)
        assert not [pid for pid in family if alive(pid)]
    finally:
        if driver.poll() is None:
            driver.kill()


def test_a_sweep_ends_well_though_nothing_that_shows_it_can_be_written(
    sweep_of: Sweep, write_sweep: Write, tmp_path: Path
) -> None:
    fields = sweep_of(methods=["lora"], languages=["qal"])
    storage = tmp_path / "results"
    storage.mkdir()
    (storage / "reports").write_text("in the way of the folder")
    (storage / "optuna.db").mkdir()
    (storage / "mlflow-artifacts").write_text("in the way of the folder")
    (storage / "diffs").write_text("in the way of the folder")
    line = f"{' '.join(COMMAND)} {write_sweep(fields)} 2> {tmp_path / 'errors'} | head -1"
    found = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    errors = (tmp_path / "errors").read_text()
    assert found.returncode == 0, errors
    assert "Traceback" not in errors
    assert errors.count("cannot be written") == 1
    assert "flare-ray report" in errors
    (record,) = records(storage)
    assert json.loads(record.read_text())["metrics"]
