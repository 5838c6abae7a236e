"""Finished runs as workers leave them, of a study that nothing was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flare_ray.plan.grid import Run
from flare_ray.plan.wire import run_facts
from flare_ray.store import Store

PROVENANCE = {
    "versions": {"flare-ray": "0.1.0", "torch": "2.13.0", "peft": "0.21.2"},
    "python": "3.11.7",
    "platform": "Linux",
    "git_commit": "abc123",
    "git_changed": False,
    "sweep": "small",
    "host": "vm",
    "device": "cpu",
}


def record_of(run: Run, value: float = 60.0) -> dict[str, Any]:
    """A record whose test metric is `value` and a little more by seed."""
    history = [
        {
            "step": 10 * epoch,
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "seconds": 1.5,
            "validation_macro_f1": 50.0,
        }
        for epoch in (1, 2, 3)
    ]
    return run_facts(run) | {
        "metrics": {"macro_f1": value + run.seed, "accuracy": 70.0},
        "validation": {"validation_macro_f1": 66.0},
        "history": history,
        "chosen_step": 30,
        "chosen_epoch": 3,
        "rows": {"train": 6, "validation": 3, "test": 3},
        "data": {"train": {"truncated": 1}, "validation": {}, "test": {}},
        "cost": {"wall_seconds": 12.5, "gpu_seconds": 0.0, "trainable_parameters": 1234},
        "started": 1_700_000_000.0 + run.seed,
        "ended": 1_700_000_012.5 + run.seed,
        "provenance": PROVENANCE,
        "execution": {"workers": 1},
    }


def finish(store: Store, run: Run, scratch: Path, value: float = 60.0) -> None:
    """Keeps a run's record, predictions and adapter."""
    folder = scratch / run.fingerprint
    (folder / "adapter").mkdir(parents=True)
    pq.write_table(pa.table({"id": ["9"], "prediction": ["neutral"]}), folder / "predictions.parquet")
    (folder / "adapter" / "README.md").write_text("how to load it")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(100))
    store.write("runs", run.fingerprint, record_of(run, value), folder)


def fail(store: Store, run: Run, at: float = 1_700_000_000.0) -> None:
    """Writes down that a run failed."""
    failure = {
        "fingerprint": run.fingerprint,
        "label": run.label,
        "kind": "bug",
        "error": "ValueError: no rows",
    }
    store.write_failure(
        run.fingerprint, failure | {"traceback": "Traceback: here", "provenance": PROVENANCE, "at": at}
    )
