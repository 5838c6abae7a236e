"""The training loop: a fixed number of epochs or steps on a DeepSpeed engine, the best state chosen on validation.

Between two optimiser steps the loop can be left and entered again: `_Loop.facts` and the tensors beside them are all
that what follows depends on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from flare_ray.training.batches import accumulation, epoch_batches, micro_batches
from flare_ray.training.checkpoints import Checkpoint, Checkpoints
from flare_ray.training.engine import Group, release, restore_state, start_engine, trained_state
from flare_ray.training.evaluation import predict, score
from flare_ray.training.feeder import Feeder
from flare_ray.training.pace import Pace
from flare_ray.training.snapshot import (
    counters,
    optimizer_tensors,
    random_state,
    restore_counters,
    restore_optimizer,
    restore_random_state,
)

OnValidation = Callable[[dict[str, float]], None]


class Diverged(RuntimeError):
    """The loss is no longer a number."""


class Stopped(RuntimeError):
    """The training was asked to stop, and has; it continues from its checkpoint."""


@dataclass
class Fitted:
    """What training left behind.

    state: the chosen step's trainable parameters on the CPU. history: one entry per validation with its step and
    epoch, mean training loss since the last one, validation metrics, learning rate and seconds. tokens: target tokens
    passed forward in training. resumptions: how often it went on from a checkpoint; earlier_seconds: wall time that
    went into the checkpoint in other processes.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    chosen_step: int = 0
    steps: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    trainable_parameters: int = 0
    resumptions: int = 0
    earlier_seconds: float = 0.0

    @property
    def chosen(self) -> dict[str, float]:
        """The history's entry of the chosen step; empty where nothing was trained."""
        return next((entry for entry in self.history if entry["step"] == self.chosen_step), {})


def fit(
    model: torch.nn.Module,
    train: Feeder,
    validation: Feeder,
    settings: Mapping[str, Any],
    seed: int,
    group: Group,
    on_validation: OnValidation | None = None,
    checkpoints: Checkpoints | None = None,
    resumed: Checkpoint | None = None,
) -> tuple[Any, Fitted]:
    """Trains what is trainable in `model`; returns the engine, holding the chosen state, and what was recorded.

    Validation comes after every `validate_every` steps (None: every epoch) and after the last one; the step with the
    best metric of the task is chosen, the earliest of equals. With `checkpoints` the training is kept now and then,
    and stops when it is asked to; with `resumed` it continues from there as if it had never stopped. Raises Diverged
    when the loss of a step is not finite, naming the step and the last good validation; Stopped.
    """
    loop = _Loop(model, train, validation, settings, seed, group, on_validation, checkpoints)
    try:
        return loop.run(resumed)
    except BaseException:
        release(loop.engine)
        raise


class _Loop:
    def __init__(
        self,
        model: torch.nn.Module,
        train: Feeder,
        validation: Feeder,
        settings: Mapping[str, Any],
        seed: int,
        group: Group,
        on_validation: OnValidation | None,
        checkpoints: Checkpoints | None,
    ):
        self.model, self.train, self.validation = model, train, validation
        self.settings, self.seed, self.group, self.on_validation = settings, seed, group, on_validation
        self.task = train.bench.task
        self.passes = accumulation(settings["batch_size"], group.workers, group.micro_batch)
        self.steps_per_epoch = math.ceil(len(train) / settings["batch_size"])
        whole = self.steps_per_epoch * settings["epochs"]
        self.steps = min(whole, settings.get("max_steps") or whole)
        self.engine = start_engine(model, settings, group, self.steps, self.passes)
        trainable = (p for p in model.parameters() if p.requires_grad)
        self.fitted = Fitted(trainable_parameters=sum(getattr(p, "ds_numel", p.numel()) for p in trainable))
        self.losses: list[torch.Tensor] = []
        self.checkpoints = checkpoints
        self.pace = Pace(checkpoints.keeper if checkpoints else None, group)
        self.began = self.started = time.perf_counter()

    def run(self, resumed: Checkpoint | None) -> tuple[Any, Fitted]:
        every = self.settings.get("validate_every") or self.steps_per_epoch
        set_seed(self.seed)  # dropout depends on the seed alone, not on what was computed or cached before
        self.engine.train()
        self.began = self.started = time.perf_counter()
        done = self._resume(resumed) if resumed else 0
        for step, batch in enumerate(islice(self._batches(done), self.steps - done), done + 1):
            self.losses.append(self._step(batch, step))
            if step % every == 0 or step == self.steps:
                self._validate(step)
            write, stop = self.pace.decide()
            if write:
                self._keep(step, stop)
        self.fitted.steps = self.steps
        restore_state(self.model, self.fitted.state, self.group.zero_stage)
        return self.engine, self.fitted

    def _batches(self, done: int) -> Iterator[np.ndarray]:
        """The batches of all epochs behind the first `done` ones."""
        first, skipped = divmod(done, self.steps_per_epoch)
        for epoch in range(first, self.settings["epochs"]):
            batches = epoch_batches(self.train.lengths, self.settings["batch_size"], self.seed, epoch + 1)
            yield from batches[skipped if epoch == first else 0 :]

    def _step(self, batch: np.ndarray, step: int) -> torch.Tensor:
        """One optimiser step; returns its loss, the mean over the whole batch."""
        group, total = self.group, torch.zeros((), device=self.group.device)
        for micro in micro_batches(batch, self.train.items, group.workers, group.worker, self.passes):
            loss = self.engine(**self.train.inputs(micro.rows, step)).loss * micro.weight
            self.engine.backward(loss)
            self.engine.step()
            total += loss.detach().float() / (group.workers * self.passes)
        self.fitted.tokens += self.train.tokens(batch.tolist())
        return self.pace.summed(total)

    def _validate(self, step: int) -> None:
        """Scores the validation split and keeps the state when it is the best so far."""
        fitted = self.fitted
        loss = float(self._finite_losses(step).mean())
        self.losses = []
        fitted.train_seconds += time.perf_counter() - self.started
        metrics = score(self.task, self.validation.split.target.table, predict(self.engine, self.validation))
        entry: dict[str, float] = {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "train_loss": loss,
            "seconds": time.perf_counter() - self.started,
            "learning_rate": self.engine.get_lr()[0],
        }
        entry |= {f"validation_{name}": value for name, value in metrics.items()}
        best = fitted.chosen.get(f"validation_{self.task.metric}", -math.inf)
        fitted.history.append(entry)
        if metrics[self.task.metric] > best:
            fitted.state = trained_state(self.model, self.group.zero_stage)
            fitted.chosen_step = step
        if self.on_validation:
            self.on_validation(entry)
        self.started = time.perf_counter()

    def _finite_losses(self, step: int) -> torch.Tensor:
        """Of the steps since the last validation. Raises Diverged for one that is not finite."""
        losses = torch.stack(self.losses).cpu()
        bad = (~losses.isfinite()).nonzero().flatten().tolist()
        if bad:
            number = step - len(losses) + bad[0] + 1
            good = (
                f"step {self.fitted.chosen_step} was the best state until then"
                if self.fitted.history
                else "no validation came before"
            )
            raise Diverged(f"the loss is {losses[bad[0]].item()} at step {number} of {self.steps}; {good}")
        return losses

    # ---- leaving and entering between two steps

    def _keep(self, step: int, stop: bool) -> None:
        """Writes a checkpoint, of good losses only. Raises Diverged, and Stopped when asked to stop."""
        assert self.checkpoints is not None
        losses = self._finite_losses(step) if self.losses else torch.zeros(0)
        began, stage = time.perf_counter(), self.group.zero_stage
        own, shared = random_state(self.group.device), {"losses": losses}
        shared |= {f"parameter.{name}": value for name, value in trained_state(self.model, stage).items()}
        shared |= {f"chosen.{name}": value for name, value in self.fitted.state.items()}
        (own if stage else shared).update(optimizer_tensors(self.engine))
        kept = self.checkpoints.save(step, self._facts(began), shared, own)
        restore_random_state(own, self.group.device)  # whatever writing may have drawn
        seconds = time.perf_counter() - began
        self.started += seconds
        self.pace.written(seconds)
        if stop:
            last = "its checkpoint is kept" if kept else "its checkpoint could not be written"
            raise Stopped(f"stopped at step {step} of {self.steps}: {last}")

    def _facts(self, now: float) -> dict[str, Any]:
        fitted = self.fitted
        return {
            "history": fitted.history,
            "chosen_step": fitted.chosen_step,
            "tokens": fitted.tokens,
            "train_seconds": fitted.train_seconds,
            "seconds_since_validation": now - self.started,
            "seconds": fitted.earlier_seconds + now - self.began,
            "resumptions": fitted.resumptions,
            "micro_batch": self.group.micro_batch,
            "engine": counters(self.engine),
        }

    def _resume(self, found: Checkpoint) -> int:
        """Puts everything back as it was when the checkpoint was written; returns its step."""
        facts, tensors, fitted = found.facts, found.tensors, self.fitted
        restore_state(self.model, _named("parameter.", tensors), self.group.zero_stage)
        restore_optimizer(self.engine, tensors)
        restore_counters(self.engine, facts["engine"])
        fitted.state, fitted.history = _named("chosen.", tensors), facts["history"]
        fitted.chosen_step, fitted.tokens = facts["chosen_step"], facts["tokens"]
        fitted.train_seconds, fitted.earlier_seconds = facts["train_seconds"], facts["seconds"]
        fitted.resumptions = facts["resumptions"] + 1
        for entry in fitted.history if self.on_validation else ():
            self.on_validation(entry)  # type: ignore[misc]
        self.losses = list(tensors["losses"].to(self.group.device))
        self.started = time.perf_counter() - facts["seconds_since_validation"]
        restore_random_state(tensors, self.group.device)
        return found.step


def _named(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
