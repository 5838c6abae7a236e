"""One worker of test_workers.py: a training run as its group's member; the first one writes the record down.

python -m torch.distributed.run --nproc_per_node=2 two_workers.py JOB.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from flare_ray.training.engine import Group, join_group
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Subject, Workbench


def main(job: dict[str, object]) -> None:
    """job: subject, method, settings, stage, micro_batch, out, and perhaps where source states are kept."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    join_group("cpu")
    group = Group(dist.get_world_size(), dist.get_rank(), job["stage"], job["micro_batch"])  # type: ignore[arg-type]
    mode = job.get("source_cache", "auto")
    bench = Workbench(Subject(**job["subject"]), group, source_cache=mode)  # type: ignore[arg-type]
    out = Path(str(job["out"]))
    record = train_run(bench, job["method"], "qal", job["settings"], 1, out)  # type: ignore[arg-type]
    if group.first:
        (out / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
