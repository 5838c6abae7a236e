"""Where the demo's wall time goes: `python benchmarks/demo.py [sweep.yaml]`, on a machine with nothing else to do.

Runs the sweep into an empty store, then once more into the full one, and splits the time by what the program printed
and what the records say. Prints a Markdown table.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def timed_sweep(sweep: str, storage: Path) -> tuple[float, dict[str, float]]:
    """Wall seconds of a sweep, and when (in seconds) certain lines were printed for the first time."""
    marks = {"starting Ray": 0.0, ": training": 0.0, "] ": 0.0, "records in MLflow": 0.0}
    started = time.perf_counter()
    command = [sys.executable, "-u", "-m", "flare_ray.sweep", sweep, "--set", f"storage={storage}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            for mark, seen in marks.items():
                if not seen and mark in line:
                    marks[mark] = time.perf_counter() - started
    if child.returncode:
        sys.exit(f"the sweep ended with {child.returncode}")
    return time.perf_counter() - started, marks


def records(storage: Path, kind: str) -> list[dict[str, Any]]:
    """All records of a kind."""
    return [json.loads(file.read_text()) for file in storage.glob(f"{kind}/*/record.json")]


def main() -> None:
    """Prints the table."""
    sweep = sys.argv[1] if len(sys.argv) > 1 else "sweeps/demo.yaml"
    with tempfile.TemporaryDirectory() as scratch:
        storage = Path(scratch) / "results"
        first, marks = timed_sweep(sweep, storage)
        runs, bases = records(storage, "runs"), records(storage, "bases")
        second, _ = timed_sweep(sweep, storage)
    work = runs + bases
    busy = sum(record["cost"]["wall_seconds"] for record in work)
    training = sum(record["cost"]["train_seconds"] for record in work)
    span = max(record["ended"] for record in work) - min(record["started"] for record in work)
    slots = min(os.cpu_count() or 1, len(bases))
    trained = [record for record in runs if record["chosen_step"]]
    steps = sorted(record["cost"]["step_ms"] for record in trained)
    rows = [
        ("whole sweep, empty store", first),
        ("validation and plan, until Ray starts", marks["starting Ray"]),
        (
            "Ray and the first worker group, until the first base model trains",
            marks[": training"] - marks["starting Ray"],
        ),
        ("from the first base model's start to the last run's end", span),
        (f"- training on {slots} workers, per worker", training / slots),
        ("- evaluation, loading, source states, saving, per worker", (busy - training) / slots),
        ("- worker groups starting, waiting for one another, per worker", span - busy / slots),
        ("after the last run: MLflow, table, Ray's end", first - marks[": training"] - span),
        ("overhead per run (all but training, over all runs)", (first - training / slots) / len(runs)),
        ("whole sweep, full store (trains nothing)", second),
    ]
    print(
        f"{len(bases)} base models, {len(runs)} runs; {os.cpu_count()} cores, {platform.processor() or 'CPU'};",
        end=" ",
    )
    print(f"median step {steps[len(steps) // 2]:.0f} ms\n\n| part | seconds |\n|---|---:|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
