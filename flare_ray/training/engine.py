"""The DeepSpeed engine of one adapter: AdamW on what is trained, linear schedule with warm-up, any ZeRO stage."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch


@dataclass(frozen=True)
class Group:
    """The worker group a run is trained by, and how its steps are cut up. Execution, never identity."""

    workers: int = 1
    worker: int = 0
    zero_stage: int = 0
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes files."""
        return self.worker == 0


def join_group(device: str) -> None:
    """DeepSpeed's communication over the process group that is there already, with nothing to compile first.

    On a CPU with a compiler DeepSpeed would build its shared-memory op, for a minute in every new environment.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if device.startswith("cuda") else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


def linear_factor(step: int, steps: int, warmup: float) -> float:
    """Learning rate at a step, as a share of its peak: rising over `warmup` of the steps, then falling to 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


def start_engine(
    model: torch.nn.Module, settings: Mapping[str, Any], group: Group, steps: int, passes: int
) -> Any:
    """A deepspeed engine over the model's trainable parameters.

    settings: learning_rate, weight_decay, max_grad_norm, warmup, precision. steps: optimiser steps in all;
    passes: micro-batches per step and worker.
    """
    import deepspeed

    micro = 1  # DeepSpeed only multiplies it into a total that it checks; real micro-batches vary in size
    config = {
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": passes,
        "train_batch_size": micro * passes * group.workers,
        "gradient_clipping": settings["max_grad_norm"],
        "zero_optimization": {"stage": group.zero_stage},
        "bf16": {"enabled": settings["precision"] == "bf16"},
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": settings["learning_rate"],
                "weight_decay": settings["weight_decay"],
                "torch_adam": True,  # no compiler is needed at start (DeepSpeed#6892)
            },
        },
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    factor = partial(linear_factor, steps=steps, warmup=settings["warmup"])
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=[p for p in model.parameters() if p.requires_grad],
        config=config,
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
        dist_init_required=False,
    )
    _undo_first_step(engine)
    return engine


def _undo_first_step(engine: Any) -> None:
    """Take back the AdamW step that DeepSpeed makes before the first batch for bf16 without ZeRO.

    FP16_UnfusedOptimizer (0.19) allocates AdamW's state by a step with zero gradients: it counts in the bias
    correction, and decays the weights. Other stages and precisions do not.
    """
    state = engine.basic_optimizer.state
    if not state:
        return
    state.clear()
    wrapper = engine.optimizer
    with torch.no_grad():
        for parameters, masters in zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True):
            for parameter, master in zip(parameters, masters, strict=True):
                master.copy_(parameter)


def release(engine: Any) -> None:
    """Undoes what would keep a finished engine and its model for good, for the garbage collector to find them."""
    stage = engine.zero_optimization_stage()
    engine.destroy()  # the hooks that ZeRO leaves on parameters
    if stage == 3:
        _forget_modules()


def _forget_modules() -> None:
    """ZeRO-3 remembers every model it ever cut up: in a list that never ends, and in a method's cache (0.19).

    It also leaves torch with a `linear` of its own, which rounds otherwise: what is computed next would tell that a
    training came before it.
    """
    from deepspeed.runtime.zero import parameter_offload
    from deepspeed.runtime.zero.partition_parameters import InsertPostInitMethodToModuleSubClasses as Patch
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator

    torch.nn.functional.linear = getattr(Patch, "linear_bk", torch.nn.functional.linear)

    parameter_offload.FWD_MODULE_STACK.clear()
    method = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
    inspect.getclosurevars(method).nonlocals["func"].cache_clear()


def trained_state(model: torch.nn.Module, zero_stage: int) -> dict[str, torch.Tensor]:
    """A copy of every trainable parameter on the CPU, by name; gathered first under ZeRO-3."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with _gathered(list(trainable.values()), zero_stage):
        return {name: p.detach().to("cpu", copy=True) for name, p in trainable.items()}


def restore_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor], zero_stage: int) -> None:
    """Puts a copy made by `trained_state` back into the model."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with _gathered(list(trainable.values()), zero_stage, modifier_rank=0), torch.no_grad():
        for name, p in trainable.items():
            if p.numel():
                p.copy_(state[name])


def _gathered(parameters: list[torch.nn.Parameter], zero_stage: int, modifier_rank: int | None = None) -> Any:
    import deepspeed

    enabled = zero_stage == 3
    return deepspeed.zero.GatheredParameters(parameters, modifier_rank=modifier_rank, enabled=enabled)
