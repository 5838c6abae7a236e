"""The training loop: a fixed number of epochs on a DeepSpeed engine, the best epoch chosen on validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import set_seed

from flare_ray.tasks.base import Task
from flare_ray.training.batches import accumulation, epoch_batches, micro_batches
from flare_ray.training.engine import Group, restore_state, start_engine, trained_state
from flare_ray.training.evaluation import predict
from flare_ray.training.workbench import Feeder

OnEpoch = Callable[[dict[str, float]], None]


class Diverged(RuntimeError):
    """The loss is no longer a number."""


@dataclass
class Fitted:
    """What training left behind.

    state: the chosen epoch's trainable parameters on the CPU. history: one entry per epoch with its mean training
    loss, validation metrics, learning rate and seconds. tokens: target tokens passed forward in training.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    chosen_epoch: int = 0
    chosen_step: int = 0
    steps: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    trainable_parameters: int = 0


def fit(
    model: torch.nn.Module,
    train: Feeder,
    validation: Feeder,
    task: Task,
    settings: Mapping[str, Any],
    seed: int,
    group: Group,
    on_epoch: OnEpoch | None = None,
) -> tuple[Any, Fitted]:
    """Trains what is trainable in `model`; returns the engine, holding the chosen epoch, and what was recorded.

    The epoch with the best validation metric is chosen, the earliest of equals. Raises Diverged when the loss of
    a step is not finite, naming the step and the last good epoch.
    """
    passes = accumulation(settings["batch_size"], group.workers, group.micro_batch)
    steps_per_epoch = math.ceil(len(train) / settings["batch_size"])
    steps = steps_per_epoch * settings["epochs"]
    engine = start_engine(model, settings, group, steps, passes)
    trainable = (p for p in model.parameters() if p.requires_grad)
    fitted = Fitted(trainable_parameters=sum(getattr(p, "ds_numel", p.numel()) for p in trainable))
    best = -math.inf
    set_seed(seed)  # dropout depends on the seed alone, not on what was computed or cached before
    for epoch in range(1, settings["epochs"] + 1):
        started = time.perf_counter()
        losses = _train_epoch(engine, train, settings["batch_size"], seed, epoch, group, passes, fitted)
        fitted.train_seconds += time.perf_counter() - started
        loss = _finite_mean(losses, epoch, steps_per_epoch, fitted.chosen_epoch)
        logits = predict(engine, validation, group)
        metrics = task.score(validation.split.target.labels.tolist(), logits.argmax(1).tolist())
        entry = {"epoch": epoch, "train_loss": loss, "seconds": time.perf_counter() - started}
        entry |= {f"validation_{name}": value for name, value in metrics.items()}
        entry["learning_rate"] = engine.get_lr()[0]
        fitted.history.append(entry)
        if metrics[task.metric] > best:
            best = metrics[task.metric]
            fitted.state = trained_state(model, group.zero_stage)
            fitted.chosen_epoch, fitted.chosen_step = epoch, epoch * steps_per_epoch
        if on_epoch:
            on_epoch(entry)
    fitted.steps = steps
    restore_state(model, fitted.state, group.zero_stage)
    return engine, fitted


def _train_epoch(
    engine: Any,
    train: Feeder,
    batch_size: int,
    seed: int,
    epoch: int,
    group: Group,
    passes: int,
    fitted: Fitted,
) -> torch.Tensor:
    """One epoch; returns the loss of each step, the mean over its whole batch."""
    engine.train()
    losses = []
    for batch in epoch_batches(len(train), batch_size, seed, epoch):
        step_loss = torch.zeros((), device=group.device)
        for micro in micro_batches(batch, group.workers, group.worker, passes):
            loss = engine(**train.inputs(micro.rows)).loss * micro.weight
            engine.backward(loss)
            engine.step()
            step_loss += loss.detach().float() / (group.workers * passes)
        if group.workers > 1:
            torch.distributed.all_reduce(step_loss)
        losses.append(step_loss)
        fitted.tokens += train.tokens(batch.tolist())
    return torch.stack(losses).cpu()


def _finite_mean(losses: torch.Tensor, epoch: int, steps_per_epoch: int, last_good: int) -> float:
    bad = (~losses.isfinite()).nonzero().flatten().tolist()
    if bad:
        step = (epoch - 1) * steps_per_epoch + bad[0] + 1
        good = f"epoch {last_good} was the last good one" if last_good else "no epoch was finished before"
        raise Diverged(f"the loss is {losses[bad[0]].item()} at step {step} (epoch {epoch}); {good}")
    return float(losses.mean())
