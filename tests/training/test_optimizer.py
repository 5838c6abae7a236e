"""AdamW makes the same steps at every ZeRO stage and precision: those of plain torch on fp32 masters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from flare_ray.training.engine import Group, release, start_engine
from flare_ray.training.snapshot import _masters

RATE, STEPS, PASSES = 1e-2, 6, 2
STAGES = (0, 1, 2, 3)
PRECISIONS = ("fp32", "bf16")


class Product(torch.nn.Module):
    """A vector times its input: the gradient is the input, whatever the vector."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.vector = torch.nn.Parameter(torch.full((64,), start))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scalar."""
        return (self.vector * inputs).sum()


@pytest.fixture(params=[(precision, stage) for precision in PRECISIONS for stage in STAGES], ids=str)
def engine_of(request: pytest.FixtureRequest, distributed: None) -> Iterator[Any]:
    """Start an engine of a precision and stage."""
    precision, stage = request.param
    engines: list[Any] = []

    def start(weight_decay: float, start_value: float, clip: float = 1e9) -> Any:
        settings = {
            "learning_rate": RATE,
            "weight_decay": weight_decay,
            "max_grad_norm": clip,
            "warmup": 0.0,
            "precision": precision,
        }
        engine = start_engine(Product(start_value), settings, Group(zero_stage=stage), 1000, PASSES)
        engine.precision = torch.bfloat16 if precision == "bf16" else torch.float32
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        release(engine)


def step(engine: Any, inputs: list[torch.Tensor]) -> torch.Tensor:
    """One optimiser step over as many passes; the masters after it."""
    for one in inputs:
        engine.backward(engine(one.to(engine.precision)))
        engine.step()
    return _masters(engine)[0].detach().float().clone()[:64]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_no_step_comes_before_the_first_batch(engine_of: Any, weight_decay: float) -> None:
    engine = engine_of(weight_decay, start_value=1.0)
    counted = [float(state["step"]) for state in engine.basic_optimizer.state.values() if "step" in state]
    assert counted == []
    masters = _masters(engine)[0].detach().float().clone()[:64]
    assert torch.equal(masters, torch.ones(64))
    moves = []
    for _ in range(3):
        after = step(engine, [torch.ones(64)] * PASSES)
        moves.append(float((masters * (1 - RATE * weight_decay) - after).mean()) / RATE)
        masters = after
    assert moves == pytest.approx([1.0, 1.0, 0.999], abs=2e-3)


@pytest.mark.parametrize("clip", [1e9, 0.5])
def test_masters_are_those_of_plain_torch(engine_of: Any, clip: float) -> None:
    """Gradients are what bf16 can hold, so that no stage may round them differently."""
    drawn = torch.randint(-8, 9, (STEPS, PASSES, 64), generator=torch.Generator().manual_seed(1)) / 4
    engine = engine_of(0.1, start_value=1.0, clip=clip)
    vector = torch.nn.Parameter(torch.ones(64))
    plain = torch.optim.AdamW([vector], lr=RATE, weight_decay=0.1)
    for number, inputs in enumerate(drawn):
        vector.grad = inputs.mean(0)
        torch.nn.utils.clip_grad_norm_([vector], clip)
        for group in plain.param_groups:  # the schedule that the engine has been given
            group["lr"] = engine.get_lr()[0]
        plain.step()
        masters = step(engine, list(inputs))
        update = (vector.detach() - 1).abs().mean()
        assert (masters - vector.detach()).abs().mean() < 0.01 * update, f"step {number}"
