"""Two workers give one worker's run, at every ZeRO stage."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

WORKER = Path(__file__).with_name("two_workers.py")


def by_two(job: dict[str, Any]) -> dict[str, Any]:
    """The record of a run by two workers."""
    out = Path(job["out"])
    out.mkdir()
    file = out / "job.json"
    file.write_text(json.dumps(job))
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(WORKER), str(file)]
    done = subprocess.run(
        [sys.executable, *run],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "record.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "task", "method", "stage", "micro"),
    [
        ("xlm_roberta", "nusax", "lora", 0, None),
        ("xlm_roberta", "tydiqa", "lora", 2, 5),
        ("xlm_roberta", "nusax", "flare", 3, None),
        ("llama", "nusax", "flare", 2, 5),
    ],
)
def test_two_workers_are_one(
    family: str,
    task: str,
    method: str,
    stage: int,
    micro: int | None,
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    """With a last batch that does not share out evenly, and 49 test rows or so between two."""
    bench, settings = open_bench(family, task), settings_of(method, family, task, batch_size=21)
    one = train_run(bench, method, "qal", settings, 1, tmp_path / "one")
    job = {
        "subject": asdict(bench.subject),
        "method": method,
        "settings": settings,
        "stage": stage,
        "micro_batch": micro,
        "out": str(tmp_path / "two"),
    }
    two = by_two(job)
    losses = [[entry["train_loss"] for entry in record["history"]] for record in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert two["rows"] == one["rows"]
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in ("one", "two")]
    assert tables[0]["id"].equals(tables[1]["id"]), "each instance once, in the split's order"
    adapters = [
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two")
    ]
    assert adapters[0].keys() == adapters[1].keys()
    for name, trained in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], trained, atol=1e-3, rtol=1e-2, msg=name)
    if "logits" in tables[0].column_names:
        logits = [torch.tensor(table["logits"].to_pylist()) for table in tables]
        torch.testing.assert_close(*logits, atol=1e-2, rtol=0)
    if method == "flare":
        measured = [pq.read_table(tmp_path / name / "activations.parquet") for name in ("one", "two")]
        places = [table.drop_columns(["mean", "std"]) for table in measured]
        assert places[0].equals(places[1])
        means = [torch.tensor(table["mean"].to_pylist()) for table in measured]
        torch.testing.assert_close(*means, atol=1e-2, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_two_workers_share_source_states_on_disk(
    stage: int,
    own_cache: Path,
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    """One computes what both read. A ZeRO-3 pass takes both, so there they stay in memory."""
    found = []
    for mode in ("memory", "disk"):
        job = {
            "subject": asdict(open_bench().subject),
            "method": "flare",
            "settings": settings_of("flare", dropout=0.1),
            "stage": stage,
            "micro_batch": None,
            "out": str(tmp_path / mode),
            "source_cache": mode,
        }
        record = by_two(job)
        curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
        found.append((curve, pq.read_table(tmp_path / mode / "predictions.parquet")))
    assert found[0] == found[1]
    entries = [folder for folder in (own_cache / "source-states").glob("*") if folder.is_dir()]
    assert len(entries) == (3 if stage == 2 else 0)
