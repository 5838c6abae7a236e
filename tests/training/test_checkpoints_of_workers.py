"""Two workers that are cut short go on together, each with its own piece of the optimiser, to the same bits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from flare_ray.store import Store
from flare_ray.training.workbench import Workbench
from tests.training.test_checkpoints import PLAIN, outcome

WORKER = Path(__file__).with_name("interrupted_workers.py")
RUNS = {  # ZeRO stage: method, precision, rows of a micro-batch, the step of one that is asked to stop
    0: ("flare", "fp32", 3, 1),
    1: ("lora", "bf16", None, 2),
    2: ("x_mixup", "fp32", None, 4),
    3: ("lora", "bf16", None, 3),
}


def workers(folder: Path, runs: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Two workers on a CPU that do these runs."""
    file = folder / "job.json"
    file.write_text(json.dumps({"runs": runs}))
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(WORKER), str(file)]
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    return subprocess.run(
        [sys.executable, *run], capture_output=True, text=True, check=False, env=os.environ | quiet
    )


def record(out: str) -> dict[str, Any]:
    return json.loads((Path(out) / "record.json").read_text())


@pytest.mark.slow
def test_interrupted_workers_end_as_uninterrupted_ones(
    open_bench: Callable[..., Workbench], settings_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """A worker that is asked to stop stops both one step later; one that dies takes both, and both go on."""
    whole, cut = [], []
    for stage, (method, precision, micro_batch, stop) in RUNS.items():
        run = {
            "subject": asdict(replace(open_bench().subject, precision=precision)),
            "method": method,
            "settings": settings_of(method, precision=precision, **PLAIN),
            "stage": stage,
            "micro_batch": micro_batch,
            "out": str(tmp_path / f"whole{stage}"),
        }
        whole.append(run)
        kept = {"out": str(tmp_path / f"pieces{stage}"), "store": str(tmp_path / f"store{stage}")}
        cut.append(run | kept | {"stop": stop})
    killed = {"out": str(tmp_path / "killed"), "store": str(tmp_path / "store"), "die": 6}
    first = workers(tmp_path, [*whole, *cut, whole[2] | killed])
    assert "exitcode  : 9" in first.stderr, first.stderr[-3000:]
    for run in cut:
        stopped = record(run["out"])
        assert stopped == {"stopped": f"stopped at step {run['stop'] + 1} of 8: its checkpoint is kept"}
        names = Store(run["store"]).names(f"checkpoints/work/{run['stop'] + 1}")
        assert len(names) == 4, "what is shared, a file of each worker, the manifest"

    (step,) = map(int, Store(killed["store"]).names("checkpoints/work"))
    assert 3 <= step <= 5
    ends = [run | {"stop": 10**9} for run in cut]
    second = workers(tmp_path, [*ends, whole[2] | killed | {"die": None}])
    assert second.returncode == 0, second.stderr[-3000:]
    for run, uncut in zip([*cut, killed], [*whole, whole[2]], strict=True):
        one, other = Path(run["out"]), Path(uncut["out"])
        assert outcome(record(run["out"]), one) == outcome(record(uncut["out"]), other), run["out"]
        assert record(run["out"])["cost"]["resumptions"] == 1
