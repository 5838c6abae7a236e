"""One worker of the ZeRO test: trains a tiny FLARE model by DeepSpeed and writes its losses down.

python -m torch.distributed.run --nproc_per_node=2 zero_worker.py STAGE FAMILY FUSION KIND OUT
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from fusion.conftest import batch, build, flare, labels_for

STEPS, ROWS = 4, 4


def settings(stage: int, workers: int) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": ROWS // workers,
        "train_batch_size": ROWS,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def model_of(family: str, fusion: str, kind: str) -> Any:
    if kind == "mt":
        return flare(family, fusion=fusion, source="mt_encoder", source_width=12)
    if kind == "nf4":
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        path = Path(os.environ["BASE"])
        quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        return flare(
            family,
            AutoModelForCausalLM.from_pretrained(path, quantization_config=quantised, dtype=torch.float32),
            fusion=fusion,
        )
    return flare(family, build(family, **({"dropout_rate": 0.0} if family == "mt5" else {})), fusion=fusion)


def main(stage: int, family: str, fusion: str, kind: str, out: Path) -> None:
    deepspeed.init_distributed("gloo", verbose=False)
    rank, workers = dist.get_rank(), dist.get_world_size()
    model = model_of(family, fusion, kind).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings(stage, workers))
    inputs = batch(family, target=(9, 9, 9, 9), source=(6, 9, 4, 7))
    inputs |= labels_for(family, inputs)
    if kind == "mt":
        del inputs["source_input_ids"]
        inputs["source_states"] = torch.randn(ROWS, 9, 12, generator=torch.Generator().manual_seed(2))
    mine = slice(rank * ROWS // workers, (rank + 1) * ROWS // workers)
    mine_of = {name: value if value is None else value[mine] for name, value in inputs.items()}
    losses = []
    for _ in range(STEPS):
        loss = engine(**mine_of).loss
        engine.backward(loss)
        engine.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(float(mean) / workers)
    if rank == 0:
        out.write_text(json.dumps(losses))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), *sys.argv[2:5], Path(sys.argv[5]))
