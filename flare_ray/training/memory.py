"""Out of GPU memory: the micro-batch is halved, the batch stays, and so does the result, up to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from flare_ray.training.batches import accumulation
from flare_ray.training.engine import Group
from flare_ray.training.feeder import Feeder


def fitting_micro_batch(
    model: torch.nn.Module, train: Feeder, settings: Mapping[str, Any], group: Group
) -> int:
    """The largest micro-batch, halved from the given one, whose worst pass fits every worker's memory.

    The longest sequences go forward and backward once, before any optimiser is there; workers agree on the smallest
    answer, as they must pass equally often. Raises torch.OutOfMemoryError when not even one row fits.
    """
    passes = accumulation(settings["batch_size"], group.workers, group.micro_batch)
    rows = -(-settings["batch_size"] // (group.workers * passes))
    longest = sorted(range(len(train)), key=train.lengths.tolist().__getitem__, reverse=True)
    while not _fits(model, train, longest[:rows]):
        if rows == 1:
            raise torch.OutOfMemoryError(
                f"one sequence of {int(train.lengths.max())} tokens does not fit the GPU's memory: lower max_length, "
                "quantise the model, or turn on its gradient_checkpointing"
            )
        rows = -(-rows // 2)
    if group.workers > 1:
        agreed = torch.tensor(rows, device=group.device)
        torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MIN)
        rows = int(agreed)
    return rows


def _fits(model: torch.nn.Module, train: Feeder, sequences: list[int]) -> bool:
    """Whether a training pass over these sequences fits; leaves no gradient behind."""
    model.train()
    try:
        model(**train.inputs(sequences, step=1)).loss.backward()
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
