"""How long a plan takes, and how much memory: of 100,000 runs, and where a store has 10,000 of them.

    python benchmarks/plan.py [--seeds 19] [--finished 10000]

The sweep is sweeps/full.yaml with more seeds; the store is a local folder with records of three files. The command is
timed from its start to its end, in a process of its own. A machine that is busy with other things has a wall time of
its own: CPU time tells what the plan itself takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from flare_ray.plan.grid import Run
from flare_ray.store.manifest import RECORD, joined
from flare_ray.study import Study

FULL = Path(__file__).parents[1] / "sweeps" / "full.yaml"
ENTRY = "from flare_ray.cli import app; app()"


def write_sweep(folder: Path, seeds: int) -> Path:
    file = folder / "sweep.yaml"
    fields = {
        "extends": str(FULL),
        "name": "many",
        "seeds": list(range(1, seeds + 1)),
        "storage": str(folder / "store"),
    }
    file.write_text(yaml.safe_dump(fields))
    return file


def finish(store: Path, runs: Iterable[Run]) -> None:
    """Records as workers leave them, without waiting for the disk at each."""
    for run in runs:
        folder = store / "runs" / run.fingerprint
        (folder / "adapter").mkdir(parents=True)
        (folder / "predictions.parquet").write_bytes(bytes(5000))
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(5000))
        record = {"label": run.label, "cost": {"wall_seconds": 60.0}, "provenance": {"device": "none"}}
        (folder / RECORD).write_bytes(joined(record, "token", "", []))


def measured(words: Sequence[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of a command."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", ENTRY, *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {child.returncode}")
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - used


def row(what: str, wanted: str, wall: float, cpu: float, peak: float | None = None) -> None:
    memory = "" if peak is None else f"{peak:.0f}"
    print(f"| {what} | {wanted} | {wall:.2f} | {cpu:.2f} | {memory} |", flush=True)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=19, help="5,248 runs each")
    parser.add_argument("--finished", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flare-ray-") as folder:
        file = write_sweep(Path(folder), options.seeds)
        study = Study.open(file, to_execute=False)
        count, some = f"{len(study.grid.runs):,}", f"{options.finished:,}"
        print("| what | wanted | seconds | CPU seconds | peak MB |\n|---|---:|---:|---:|---:|")
        command = ("plan", str(file))
        row(f"`plan`, {count} runs, empty store", "5 s, 500 MB", *measured(command))
        row(f"`plan --json`, {count} runs, empty store", "", *measured([*command, "--json"]))
        study.stages()  # fingerprints are part of the plan
        finish(Path(folder) / "store", study.grid.runs[: options.finished])
        row(f"{some} finished runs recognised", "2 s", *timed(lambda: study.store.finished("runs")))
        row(f"stages of {count} runs, {some} of them finished", "", *timed(study.stages))
        row(f"`plan`, {count} runs, {some} of them finished", "", *measured(command))


if __name__ == "__main__":
    main()
