"""The one optimization loop that all objectives share.

Plain PyTorch on one thread, one generator, a fixed order: results are the same bit for bit on the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, Protocol, TypeVar

import torch

Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """Size of a model and of its pretraining."""

    lines: int
    vocabulary: int = 1200
    width: int = 96
    layers: int = 3
    heads: int = 4
    feedforward: int = 192
    max_length: int = 512
    """Longest input in tokens. Pretraining's lines have at most about 100; the rest is for doubled inputs."""
    initial: float = 0.06
    """Standard deviation of initial weights; at BERT's 0.02 a narrow model learns too slowly at first."""
    matching: float = 1.0
    """Sharpness of the first attention (see `initial.match_by_content`)."""
    epochs: int = 1
    batch_tokens: int = 768
    learning_rate: float = 2.5e-3
    warm_up: float = 0.06
    weight_decay: float = 0.01
    seed: int = 11
    extra: dict[str, float] = field(default_factory=dict)
    """What only one objective knows, by its own names."""

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


class Sized(Protocol):
    """Anything that can be trained on: it has a length in tokens."""

    def __len__(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


def batches(items: Sequence[Item], tokens: int, draw: Random) -> list[list[Item]]:
    """All items once, in batches of similar length of at most `tokens` tokens (padding included)."""
    order = sorted(range(len(items)), key=lambda one: (len(items[one]) + draw.random() * 4, one))
    made: list[list[Item]] = []
    batch: list[Item] = []
    longest = 0
    for index in order:
        longest = max(longest, len(items[index]))
        if batch and longest * (len(batch) + 1) > tokens:
            made.append(batch)
            batch, longest = [], len(items[index])
        batch.append(items[index])
    made.append(batch)
    draw.shuffle(made)
    return made


def pad(rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """(batch, longest) token ids, padded on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])


def optimization(model: Any, settings: Settings, steps: int) -> tuple[Any, Any]:
    """AdamW and its schedule: a linear warm-up, then linearly to zero."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    warm = max(1, round(settings.warm_up * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm + 1)))
    )
    return optimizer, schedule


def train(
    model: Any,
    items: Sequence[Item],
    loss_of: Callable[[list[Item]], torch.Tensor],
    settings: Settings,
    report: Report,
) -> dict[str, float]:
    """Trains `model` in place and leaves it in evaluation mode.

    Args:
        loss_of: the mean loss of a batch, in nats per predicted token.

    Returns:
        The facts of the training: steps, tokens, first and last losses.
    """
    torch.set_num_threads(1)
    model.train()
    draw = Random(settings.seed)
    plan = [batch for _ in range(settings.epochs) for batch in batches(items, settings.batch_tokens, draw)]
    optimizer, schedule = optimization(model, settings, len(plan))
    losses: list[float] = []
    started = time.monotonic()
    for step, batch in enumerate(plan, start=1):
        loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.item())
        if step % max(1, len(plan) // 10) == 0 or step == len(plan):
            left = (time.monotonic() - started) / step * (len(plan) - step)
            report(
                f"pretraining {step / len(plan):4.0%}  loss {fmean(losses[-50:]):.2f}  about {left:.0f} s left"
            )
    model.eval()
    return {
        "steps": len(plan),
        "tokens": settings.epochs * sum(len(item) for item in items),
        "loss_first": round(losses[0], 4),
        "loss_last": round(fmean(losses[-max(1, len(losses) // 20) :]), 4),
    }


def save(model: Any, folder: Path) -> None:
    """Writes weights and config for the `Auto…` classes.

    `save_pretrained` does the same but imports DeepSpeed where that is installed, which takes seconds.
    """
    from safetensors.torch import save_file

    model.config.dtype = model.dtype
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tied = set(model.all_tied_weights_keys)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items() if name not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
