"""One worker of the ZeRO test: trains a tiny X-Mixup model by DeepSpeed and writes its losses down.

python -m torch.distributed.run --nproc_per_node=2 zero_worker.py STAGE FAMILY OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from mixup.conftest import batch, build, mixup

STEPS, ROWS = 4, 4


def share(inputs: dict[str, Any], mine: slice) -> dict[str, Any]:
    return {k: share(v, mine) if isinstance(v, dict) else v[mine] for k, v in inputs.items()}


def main(stage: int, family: str, out: Path) -> None:
    deepspeed.init_distributed("gloo", verbose=False)
    rank, workers = dist.get_rank(), dist.get_world_size()
    model = mixup(family, build(family, **({"dropout_rate": 0.0} if family == "mt5" else {}))).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    settings = {
        "train_micro_batch_size_per_gpu": ROWS // workers,
        "train_batch_size": ROWS,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    inputs = batch(family, target=(9, 9, 9, 9), source=(6, 9, 7, 7))
    mine = share(inputs, slice(rank * ROWS // workers, (rank + 1) * ROWS // workers))
    losses = []
    for step in range(STEPS):
        loss = engine(**mine, step=step).loss
        engine.backward(loss)
        engine.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(float(mean) / workers)
    if rank == 0:
        out.write_text(json.dumps(losses))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
