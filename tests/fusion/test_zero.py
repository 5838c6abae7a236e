"""Two workers under DeepSpeed ZeRO give one worker's losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import build

pytest.importorskip("deepspeed")
WORKER = Path(__file__).with_name("zero_worker.py")


def train(workers: int, stage: int, family: str, fusion: str, kind: str, folder: Path) -> list[float]:
    """Mean losses of four steps on four rows, shared by the workers."""
    out = folder / f"{workers}-{stage}.json"
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={workers}", str(WORKER)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "BASE": str(folder / "base"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, *run, str(stage), family, fusion, kind, str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"DS_ACCELERATOR": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses: list[float] = json.loads(out.read_text())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "fusion", "kind", "stages"),
    [
        ("xlmr", "cross_attention", "dense", (0, 1, 2, 3)),
        ("llama", "add_relu", "dense", (2, 3)),
        ("mt5", "cross_attention", "dense", (3,)),
        ("xlmr", "add_relu", "mt", (2, 3)),
        ("llama", "cross_attention", "nf4", (0, 1, 2)),
    ],
)
def test_two_workers_give_one_workers_losses(
    family: str, fusion: str, kind: str, stages: tuple[int, ...], tmp_path: Path
) -> None:
    if kind == "nf4":
        build(family, hidden_size=64, intermediate_size=128, head_dim=16).save_pretrained(tmp_path / "base")
    wanted = train(1, 0, family, fusion, kind, tmp_path)
    assert wanted[-1] < wanted[0]
    for stage in stages:
        found = train(2, stage, family, fusion, kind, tmp_path)
        assert found == pytest.approx(wanted, rel=2e-4), f"ZeRO {stage}"
