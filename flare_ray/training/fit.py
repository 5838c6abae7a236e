"""The training loop: a fixed number of epochs on a DeepSpeed engine, the best state chosen on validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import set_seed

from flare_ray.training.batches import accumulation, epoch_batches, micro_batches
from flare_ray.training.engine import Group, release, restore_state, start_engine, trained_state
from flare_ray.training.evaluation import predict, score
from flare_ray.training.feeder import Feeder

OnValidation = Callable[[dict[str, float]], None]


class Diverged(RuntimeError):
    """The loss is no longer a number."""


@dataclass
class Fitted:
    """What training left behind.

    state: the chosen step's trainable parameters on the CPU. history: one entry per validation with its step and
    epoch, mean training loss since the last one, validation metrics, learning rate and seconds. tokens: target tokens
    passed forward in training.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    chosen_step: int = 0
    steps: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    trainable_parameters: int = 0

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
) -> tuple[Any, Fitted]:
    """Trains what is trainable in `model`; returns the engine, holding the chosen state, and what was recorded.

    Validation comes after every `validate_every` steps (None: every epoch) and after the last one; the step with the
    best metric of the task is chosen, the earliest of equals. Raises Diverged when the loss of a step is not finite,
    naming the step and the last good validation.
    """
    loop = _Loop(model, train, validation, settings, seed, group, on_validation)
    try:
        return loop.run()
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
    ):
        self.model, self.train, self.validation = model, train, validation
        self.settings, self.seed, self.group, self.on_validation = settings, seed, group, on_validation
        self.task = train.bench.task
        self.passes = accumulation(settings["batch_size"], group.workers, group.micro_batch)
        self.steps_per_epoch = math.ceil(len(train) / settings["batch_size"])
        self.steps = self.steps_per_epoch * settings["epochs"]
        self.engine = start_engine(model, settings, group, self.steps, self.passes)
        trainable = (p for p in model.parameters() if p.requires_grad)
        self.fitted = Fitted(trainable_parameters=sum(getattr(p, "ds_numel", p.numel()) for p in trainable))
        self.best = -math.inf
        self.losses: list[torch.Tensor] = []

    def run(self) -> tuple[Any, Fitted]:
        every = self.settings.get("validate_every") or self.steps_per_epoch
        set_seed(self.seed)  # dropout depends on the seed alone, not on what was computed or cached before
        self.engine.train()
        started, step = time.perf_counter(), 0
        for epoch in range(1, self.settings["epochs"] + 1):
            for batch in epoch_batches(self.train.lengths, self.settings["batch_size"], self.seed, epoch):
                step += 1
                self.losses.append(self._step(batch, step))
                if step % every == 0 or step == self.steps:
                    self._validate(step, started)
                    started = time.perf_counter()
        self.fitted.steps = self.steps
        restore_state(self.model, self.fitted.state, self.group.zero_stage)
        return self.engine, self.fitted

    def _step(self, batch: Any, step: int) -> torch.Tensor:
        """One optimiser step; returns its loss, the mean over the whole batch."""
        group, total = self.group, torch.zeros((), device=self.group.device)
        for micro in micro_batches(batch, self.train.items, group.workers, group.worker, self.passes):
            loss = self.engine(**self.train.inputs(micro.rows, step)).loss * micro.weight
            self.engine.backward(loss)
            self.engine.step()
            total += loss.detach().float() / (group.workers * self.passes)
        if group.workers > 1:
            torch.distributed.all_reduce(total)
        self.fitted.tokens += self.train.tokens(batch.tolist())
        return total

    def _validate(self, step: int, started: float) -> None:
        """Scores the validation split and keeps the state when it is the best so far."""
        fitted = self.fitted
        loss = self._mean_loss(step)
        fitted.train_seconds += time.perf_counter() - started
        metrics = score(self.task, self.validation.split.target.table, predict(self.engine, self.validation))
        entry: dict[str, float] = {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "train_loss": loss,
            "seconds": time.perf_counter() - started,
            "learning_rate": self.engine.get_lr()[0],
        }
        entry |= {f"validation_{name}": value for name, value in metrics.items()}
        fitted.history.append(entry)
        if metrics[self.task.metric] > self.best:
            self.best = metrics[self.task.metric]
            fitted.state = trained_state(self.model, self.group.zero_stage)
            fitted.chosen_step = step
        if self.on_validation:
            self.on_validation(entry)

    def _mean_loss(self, step: int) -> float:
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
        self.losses = []
        return float(losses.mean())
