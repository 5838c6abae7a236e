"""The Ray Data pool: what one process translates, several translate, and a killed one loses nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from flare_ray.plan.corpora import corpus
from flare_ray.plan.schema import Resources, Translation
from flare_ray.store import Store
from flare_ray.translation import worklist
from flare_ray.translation.corpus import ROWS
from flare_ray.translation.stage import Here, build


def command(sandbox: Path, storage: Path, task: str, *more: str) -> list[str]:
    model = str(sandbox / "models" / "sandbox-nllb")
    data = str(sandbox / "data" / task)
    start = [sys.executable, "-m", "flare_ray.cli", "translate", "--task", task, "--data", data, "--to", "qal"]
    return [*start, "--model", model, "--storage", str(storage), *more]


def tables(storage: Path) -> dict[str, list[dict[str, Any]]]:
    """Every corpus of a store, by fingerprint."""
    return {file.parent.name: pq.read_table(file).to_pylist() for file in storage.glob(f"corpora/*/{ROWS}")}


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a driver and then what it started, as a machine that goes down does."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=20)


@pytest.mark.slow
def test_the_pool_makes_what_one_process_makes(small_sandbox: Path, tmp_path: Path) -> None:
    subprocess.run(command(small_sandbox, tmp_path / "ray", "tydiqa"), check=True, timeout=500)
    translation = Translation(model=str(small_sandbox / "models" / "sandbox-nllb"))
    data = str(small_sandbox / "data" / "tydiqa")
    corpora = [corpus("tydiqa", data, "qal", split, translation) for split in ("train", "validation", "test")]
    here = Store(str(tmp_path / "here"))
    build(here, corpora, Here(here))
    assert tables(tmp_path / "ray") == tables(tmp_path / "here")
    assert len(tables(tmp_path / "here")) == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_five_moments_it_ends_in_the_same_files(small_sandbox: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "FLARE_RAY_TEST_CHUNK": "40"}
    start = command(small_sandbox, tmp_path / "hit", "xnli")
    draw = random.Random(os.environ.get("FLARE_RAY_KILL_SEED", "5"))
    for _ in range(5):
        driver = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + draw.uniform(5, 40)
        while time.monotonic() < deadline and driver.poll() is None:
            time.sleep(0.2)
        if driver.poll() is None and draw.random() < 0.5:
            _kill_a_translator(driver.pid)
        end(driver)
    subprocess.run(start, check=True, env=environment, timeout=600)
    quiet = command(small_sandbox, tmp_path / "quiet", "xnli")
    subprocess.run(quiet, check=True, timeout=600)
    assert tables(tmp_path / "hit") == tables(tmp_path / "quiet")
    shards = [sorted(tmp_path.glob(f"{name}/translations/*/*/*.parquet")) for name in ("hit", "quiet")]
    texts = [[text for shard in group for text in pq.read_table(shard)["text"].to_pylist()] for group in shards]
    assert sorted(texts[0]) == sorted(texts[1]), "each text once, none missing"


def _kill_a_translator(driver: int) -> None:
    translators = [p for p in psutil.Process(driver).children(recursive=True) if "MapWorker" in p.name()]
    for process in translators[:1]:
        process.kill()
        time.sleep(3)
