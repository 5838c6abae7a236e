"""What the rest of a training depends on, taken between two optimiser steps as plain tensors and put back to the bit.

    shared, own = optimizer_tensors(engine), random_state(device)
    …
    restore_optimizer(other_engine, shared)
    restore_random_state(own, device)

DeepSpeed's own checkpoints would do, but they are pickles (`torch.load` without `weights_only`), one folder format
per ZeRO stage, and hold no random state. An optimiser of any stage is this: masters (the fp32 parameters that AdamW
steps on: the model's own, a copy of them, or this worker's piece of one) and AdamW's tensors of each. The model's
parameters themselves are in `engine.trained_state`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

Tensors = dict[str, torch.Tensor]


def optimizer_tensors(engine: Any) -> Tensors:
    """This worker's optimiser on the CPU: `master.<k>`, unless it is a parameter of the model, and its states.

    Under ZeRO 0 every worker holds the same, under 1 to 3 each its own piece.
    """
    base, found = engine.basic_optimizer, {}
    for number, master in enumerate(_masters(engine)):
        if engine.optimizer is not base:
            found[f"master.{number}"] = _copy(master)
        for name, value in base.state.get(master, {}).items():
            found[f"master.{number}.{name}"] = _copy(value)
    return found


def restore_optimizer(engine: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Puts back what `optimizer_tensors` found in an engine made in the same way."""
    base = engine.basic_optimizer
    for number, master in enumerate(_masters(engine)):
        name = f"master.{number}"
        if name in tensors:
            master.data.copy_(tensors[name])
        states = {key.removeprefix(name + "."): tensors[key] for key in tensors if key.startswith(name + ".")}
        # torch's AdamW counts steps on the CPU
        base.state[master] = {
            key: value.clone() if key == "step" else value.to(master.device, copy=True)
            for key, value in states.items()
        }


def counters(engine: Any) -> dict[str, Any]:
    """The engine's counts of steps, and the learning rate's schedule: plain values."""
    return {
        "global_steps": engine.global_steps,
        "global_samples": engine.global_samples,
        "micro_steps": engine.micro_steps,
        "schedule": engine.lr_scheduler.state_dict(),
    }


def restore_counters(engine: Any, found: Mapping[str, Any]) -> None:
    """Puts back what `counters` found."""
    for name in ("global_steps", "global_samples", "micro_steps"):
        setattr(engine, name, found[name])
    engine.lr_scheduler.load_state_dict(dict(found["schedule"]))
    rates = engine.lr_scheduler.get_last_lr()
    for group, rate in zip(engine.basic_optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def random_state(device: str) -> Tensors:
    """Of Python's, NumPy's and torch's generators, and of the worker's GPU."""
    _, words, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state()
    found = {
        "random.python": torch.tensor(words),
        "random.python.gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "random.numpy": torch.tensor([*map(int, keys), int(place), int(has_gauss)]),
        "random.numpy.gauss": torch.tensor([float(cached)], dtype=torch.float64),
        "random.torch": torch.get_rng_state(),
    }
    return found | ({"random.cuda": torch.cuda.get_rng_state(device)} if device.startswith("cuda") else {})


def restore_random_state(tensors: Mapping[str, torch.Tensor], device: str) -> None:
    """Puts back what `random_state` found."""
    gauss = tensors["random.python.gauss"].tolist()
    random.setstate((3, tuple(tensors["random.python"].tolist()), gauss[0] if gauss else None))
    *keys, place, has_gauss = tensors["random.numpy"].tolist()
    cached = tensors["random.numpy.gauss"].item()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), place, has_gauss, cached))
    torch.set_rng_state(tensors["random.torch"])
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def _masters(engine: Any) -> list[torch.Tensor]:
    if engine.zero_optimization_stage() == 3:  # in the optimiser's groups only while it steps
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return [master for group in engine.basic_optimizer.param_groups for master in group["params"]]


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
