"""Gradient checkpointing keeps the source: same loss and gradients as without, for both kinds."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import FAMILIES, batch, flare, labels_for

KINDS = pytest.mark.parametrize("reentrant", [False, True])


def enable(model: Any, reentrant: bool) -> None:
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()


def gradients(model: Any, family: str, **more: Any) -> tuple[float, dict[str, Tensor]]:
    """Loss of one step and the gradient of every trained weight."""
    inputs = batch(family)
    model.zero_grad()
    torch.manual_seed(5)
    loss = model(**inputs | labels_for(family, inputs) | more).loss
    loss.backward()
    return float(loss), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def same(found: tuple[float, dict[str, Tensor]], wanted: tuple[float, dict[str, Tensor]]) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, atol=1e-5 * max(1, float(gradient.abs().max())), rtol=1e-4
        )


@KINDS
@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_loss_and_gradients(family: str, fusion: str, reentrant: bool) -> None:
    model = flare(family, fusion=fusion).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    wanted = gradients(model, family)
    enable(model, reentrant)
    same(gradients(model, family), wanted)
    del wanted
    silent = gradients(model, family, source_input_ids=None, source_attention_mask=None, without_source=True)
    with pytest.raises(AssertionError):  # the comparison would notice a lost source
        same(silent, gradients(model, family))


@KINDS
def test_two_passes_before_backward_keep_their_own_sources(reentrant: bool) -> None:
    """A replayed block must not take the source of the latest pass."""
    model = flare("llama", fusion="add_relu").train()
    first = batch("llama")
    second = {name: value.flip(0) if name.startswith("source") else value for name, value in first.items()}

    def both() -> dict[str, Tensor]:
        model.zero_grad()
        losses = [model(**inputs | labels_for("llama", inputs)).loss for inputs in (first, second)]
        (losses[0] + 2 * losses[1]).backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    wanted = both()
    enable(model, reentrant)
    same((0, both()), (0, wanted))


@KINDS
@pytest.mark.parametrize("projection", ["linear", "mlp"])
@pytest.mark.parametrize("family", ["xlmr", "llama", "mt5_cls"])
def test_projection_of_flare_mt_gets_its_gradients(family: str, projection: str, reentrant: bool) -> None:
    model = flare(family, source="mt_encoder", source_width=12, projection=projection).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    given = {
        "source_input_ids": None,
        "source_states": torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(1)),
    }
    wanted = gradients(model, family, **given)
    assert any("lora_source_projection" in name and bool(g.any()) for name, g in wanted[1].items())
    enable(model, reentrant)
    same(gradients(model, family, **given), wanted)


@KINDS
def test_source_dropout_is_the_same_in_the_replay(reentrant: bool) -> None:
    model = flare("llama", fusion="add_relu", source_dropout=0.5).train()
    wanted = gradients(model, "llama")
    enable(model, reentrant)
    same(gradients(model, "llama"), wanted)


@pytest.mark.parametrize("checkpointing", [None, False, True])
def test_source_states_are_freed_with_the_backward_pass(checkpointing: bool | None) -> None:
    model = flare("xlmr").train()
    if checkpointing is not None:
        enable(model, checkpointing)
    alive: list[Any] = []
    original = model.base_model._context

    def watched(*args: Any) -> Any:
        context = original(*args)
        alive.extend(
            weakref.ref(state) for source in context.sources.values() for state in source.states.values()
        )
        return context

    model.base_model._context = watched
    inputs = batch()
    loss = model(**inputs | labels_for("xlmr", inputs)).loss
    assert len(alive) == 3
    assert all(state() is not None for state in alive)
    loss.backward()
    gc.collect()
    assert all(state() is None for state in alive)
