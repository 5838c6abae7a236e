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

from flare_ray.errors import InputError, Problem
from flare_ray.execution import translating
from flare_ray.execution.retries import kind_of
from flare_ray.plan.corpora import corpus
from flare_ray.plan.schema import Resources, Translation
from flare_ray.store import Store
from flare_ray.translation.corpus import ROWS
from flare_ray.translation.memory import Pair
from flare_ray.translation.stage import Here, build

SCRIPT = """
import sys
from rich.console import Console
from flare_ray.plan.schema import Resources, Translation
from flare_ray.translate import translate_task
sandbox, storage, task = sys.argv[1:]
translate_task(
    task, f"{sandbox}/data/{task}", ["qal"], ["train", "validation", "test"],
    Translation(model=f"{sandbox}/models/sandbox-nllb"),
    Resources(translation_saved_every=0.01, translation_tokens=128), storage, Console(),
)
"""


def command(sandbox: Path, storage: Path, task: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(sandbox), str(storage), task]


def tables(storage: Path) -> dict[str, list[dict[str, Any]]]:
    """Every corpus of a store, by fingerprint."""
    return {file.parent.name: pq.read_table(file).to_pylist() for file in storage.glob(f"corpora/*/{ROWS}")}


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a driver and then what it started, as a machine that goes down does."""
    family = _children(process.pid)
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
    """The driver and all its processes, or a translator first; while it reads, loads, translates or writes."""
    start = command(small_sandbox, tmp_path / "hit", "xnli")
    draw = random.Random(os.environ.get("FLARE_RAY_KILL_SEED", "5"))
    shards = tmp_path / "hit" / "translations"
    counts = []
    for attempt in range(5):
        driver = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(list(shards.rglob("*.parquet")))
        while driver.poll() is None and attempt and len(list(shards.rglob("*.parquet"))) < before + 2:
            time.sleep(0.1)  # the first one dies early, the others in their work
        time.sleep(draw.uniform(0, 3))
        if driver.poll() is None and draw.random() < 0.5:
            _kill_a_translator(driver.pid)
        end(driver)
        counts.append(len(list(shards.rglob("*.parquet"))))
    assert counts[-1] > counts[1] > 0, "it was killed in its work, and got on each time"
    subprocess.run(start, check=True, timeout=600)
    subprocess.run(command(small_sandbox, tmp_path / "quiet", "xnli"), check=True, timeout=600)
    assert tables(tmp_path / "hit") == tables(tmp_path / "quiet")
    made = [sorted(tmp_path.glob(f"{name}/translations/*/*/*.parquet")) for name in ("hit", "quiet")]
    texts = [[text for shard in group for text in pq.read_table(shard)["text"].to_pylist()] for group in made]
    assert sorted(texts[0]) == sorted(texts[1]), "each text once, none missing"


class Dying:
    """A translator that ends its process, as one does that runs out of memory."""

    def __init__(self, *_: object):
        pass

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        os._exit(1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_text_that_kills_every_translator_fails_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(translating, "_Translators", Dying)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        pool = translating.RayPool(str(tmp_path), Resources().model_dump(), lambda facts: None)
        with pytest.raises(Exception, match=r"(?i)actor|died|task") as raised:
            pool(Pair("0" * 20, "eng", "qal"), {}, ["a chunk's place"], 1)
        cause = translating.root_cause(raised.value)
        assert "died" in str(cause)
        assert kind_of(cause) == "lost", "as a node that is gone: tried again, as often as it deserves"
    finally:
        ray.shutdown()


def test_the_root_cause_is_told() -> None:
    first = InputError("cannot translate", [Problem("language", "'xyz'", "a language")])
    outer = RuntimeError("task failed")
    outer.__cause__ = first
    wrapped = RuntimeError("the pool failed")
    wrapped.cause = outer  # type: ignore[attr-defined]
    assert translating.root_cause(wrapped) is first


def _kill_a_translator(driver: int) -> None:
    for process in [child for child in _children(driver) if "MapWorker" in " ".join(child.cmdline())][:1]:
        process.kill()
        time.sleep(3)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
