"""Two workers under DeepSpeed ZeRO give one worker's losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
WORKER = Path(__file__).with_name("zero_worker.py")


def train(workers: int, stage: int, family: str, folder: Path) -> list[float]:
    """Mean losses of four steps on four rows, shared by the workers."""
    out = folder / f"{workers}-{stage}.json"
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={workers}", str(WORKER)]
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [sys.executable, *run, str(stage), family, str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses: list[float] = json.loads(out.read_text())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(("family", "stages"), [("xlmr", (0, 2, 3)), ("llama", (2, 3)), ("mt5", (3,))])
def test_two_workers_give_one_workers_losses(family: str, stages: tuple[int, ...], tmp_path: Path) -> None:
    wanted = train(1, 0, family, tmp_path)
    assert wanted[-1] < wanted[0]
    for stage in stages:
        found = train(2, stage, family, tmp_path)
        assert found == pytest.approx(wanted, rel=2e-4), f"ZeRO {stage}"
