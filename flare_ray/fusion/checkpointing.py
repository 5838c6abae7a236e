"""Gradient checkpointing: a block replayed in backward gets back the source of the pass it belongs to.

Checkpointing drops a block's activations and runs its forward again in backward, when the forward pass is long
over and another one may have begun. The authors' code loses the source there and silently trains plain LoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from flare_ray.fusion.context import Context, Flow


class BoundCheckpoint:
    """A model's checkpointing function that hands each block the context of its own forward pass."""

    def __init__(self, checkpoint: Callable[..., Any], flow: Flow) -> None:
        self.checkpoint = checkpoint
        self.flow = flow

    def __call__(self, block: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Checkpoint a block's call. Its context lives as long as the graph that may replay it."""
        context = self.flow.context
        if context is None:
            return self.checkpoint(block, *args, **kwargs)
        return self.checkpoint(_Replayable(block, context, self.flow), *args, **kwargs)


class _Replayable:
    def __init__(self, block: Callable[..., Any], context: Context, flow: Flow) -> None:
        self.block = block
        self.context: Context | None = context
        self.flow = flow
        self.runs = 0
        self.reentrant = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.runs == 0:  # the re-entrant kind runs the block without a graph first
            self.reentrant = not torch.is_grad_enabled()
        context = self.context
        if context is None:
            raise RuntimeError("a block was replayed twice (retain_graph): that wants use_reentrant=False")
        if self.reentrant and self.runs:
            # The loss a caller still holds keeps this object, but must not keep the source's states.
            context, self.context = context.for_replay(), None
        self.runs += 1
        with self.flow.during(context):
            return self.block(*args, **kwargs)


def bind_checkpointing(model: nn.Module, flow: Flow) -> None:
    """Let the checkpointing functions of a model's modules carry the context, where checkpointing is on."""
    for module in model.modules():
        if not getattr(module, "gradient_checkpointing", False):
            continue
        checkpoint = module.__dict__.get("_gradient_checkpointing_func")
        if checkpoint is not None and not isinstance(checkpoint, BoundCheckpoint):
            module._gradient_checkpointing_func = BoundCheckpoint(checkpoint, flow)  # type: ignore[assignment]
