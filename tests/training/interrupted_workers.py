"""One worker of test_checkpoints_of_workers.py: several runs one after another, some of them cut short.

python -m torch.distributed.run --nproc_per_node=2 interrupted_workers.py JOB.json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from flare_ray.store import Store
from flare_ray.training import pace
from flare_ray.training.checkpoints import Keeper
from flare_ray.training.engine import Group, join_group
from flare_ray.training.fit import Stopped
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Subject, Workbench


def main(job: dict[str, Any]) -> None:
    """job: runs, each with subject, method, settings, stage, micro_batch, out, and perhaps how it ends.

    store: where it is kept. stop: the step after which the second worker is asked to stop. die: the step whose
    validation the second worker does not survive, in a run that is kept as often as can be.
    """
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    join_group("cpu")
    pace._SHARE = 0
    for run in job["runs"]:
        one(run)


def one(run: dict[str, Any]) -> None:
    """Executes a run; the first worker writes down its record, or how it was stopped."""
    group = Group(dist.get_world_size(), dist.get_rank(), run["stage"], run["micro_batch"])
    bench, out = Workbench(Subject(**run["subject"]), group), Path(run["out"])
    asked = iter(range(1, 10**9))

    def stop() -> bool:
        return next(asked) >= run["stop"] and not group.first if "stop" in run else False

    def die(entry: dict[str, float]) -> None:
        if entry["step"] == run.get("die") and not group.first:
            os._exit(9)

    keeper = None
    if "store" in run:
        keeper = Keeper(Store(run["store"]), "work", 0 if "die" in run else 1e9, stop)
    try:
        record = train_run(bench, run["method"], "qal", run["settings"], 1, out, die, keeper=keeper)
    except Stopped as stopped:
        record = {"stopped": str(stopped)}
    if group.first:
        out.mkdir(parents=True, exist_ok=True)
        (out / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
