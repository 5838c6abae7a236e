"""Gradients reach adapters, w, b and head, of both texts' runs, under checkpointing too; training learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from .conftest import FAMILIES, batch, build, labels_for, mixup, text


def gradients(model: Any, inputs: dict[str, Any]) -> dict[str, Tensor | None]:
    model.zero_grad()
    torch.manual_seed(0)
    model(**inputs).loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_what_is_trained_and_nothing_else(family: str) -> None:
    model = mixup(family).train()
    for name, gradient in gradients(model, batch(family)).items():
        trained = "lora_" in name or "modules_to_save" in name or name.startswith("mixup.")
        unread = "xlmr" not in family and "bert" in family and ".token_type" in name
        if trained and not unread:
            assert gradient is not None, name
            assert gradient.abs().max() > 0, name
        else:
            assert gradient is None, name


@pytest.mark.parametrize("family", ["xlmr", "llama"])
def test_gradients_flow_through_the_sources_states(family: str) -> None:
    """The target's loss alone moves adapters by way of the source too."""
    model = mixup(family, alpha=0.0, mse_weight=0.0, kl_weight=0.0)
    key = next(
        p
        for name, p in model.named_parameters()
        if "0." in name and ("value.lora_B" in name or "v_proj.lora_B" in name)
    )
    inputs = batch(family)
    (both,) = torch.autograd.grad(model(**inputs).loss, key)
    keys_and_values = model.place.attention.keys_and_values
    model.place.attention.keys_and_values = lambda states, positions: keys_and_values(
        states.detach(), positions
    )
    (target_only,) = torch.autograd.grad(model(**inputs).loss, key)
    assert (both - target_only).abs().max() > 1e-6


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("family", ["xlmr", "mt5", "llama", "gemma2"])
def test_checkpointing_changes_no_gradient(family: str, reentrant: bool) -> None:
    inputs = batch(family)
    wanted = gradients(quiet(mixup(family)), inputs)
    model = quiet(mixup(family))
    model.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    model.base.enable_input_require_grads()
    found = gradients(model, inputs)
    assert model.place.block.gradient_checkpointing, "and is on as before afterwards"
    for name, gradient in wanted.items():
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=3e-5)


def quiet(model: Any) -> Any:
    """In training mode without dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model.train()


def test_checkpointing_that_is_not_by_block_is_refused() -> None:
    model = mixup("xlmr").train()
    model.base.gradient_checkpointing_enable()
    object.__setattr__(model.place, "block", nn.Linear(2, 2))
    with pytest.raises(ValueError, match="turn checkpointing off"):
        model(**batch("xlmr"))


@pytest.mark.parametrize("family", ["xlmr", "llama"])
def test_training_learns(family: str) -> None:
    """Sixteen pairs with labels are learnt by heart; a generating model's answer is one of three."""
    torch.manual_seed(0)
    model = quiet(mixup(family, w=1.0, b=0.0))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    ours, theirs = text((7,) * 16, 1), text((6,) * 16, 2)
    if family == "llama":
        for side in (ours, theirs):
            side["input_ids"][:, -3:] = 10 + torch.arange(16)[:, None] % 3
    ours |= labels_for(family, ours)
    theirs |= labels_for(family, theirs)
    first = last = None
    for step in range(60):
        output = model(**ours, source=theirs, back_translation=theirs, step=step)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        last = output.target_loss.item()
        first = last if first is None else first
    assert first is not None
    assert last is not None
    assert last < 0.6 * first
    assert float(model.mixup.weight.detach()) != 1.0


def test_bfloat16() -> None:
    model = mixup("llama").to(torch.bfloat16).train()
    output = model(**batch("llama"))
    output.loss.backward()
    assert output.ratio.dtype == torch.float32
    assert output.loss.isfinite()


def test_a_base_without_adapters() -> None:
    from flare_ray.mixup import MixupConfig, MixupModel

    model = MixupModel(build("xlmr"), MixupConfig(block=1)).train()
    model(**batch("xlmr")).loss.backward()
    assert model.base.roberta.encoder.layer[0].attention.self.query.weight.grad is not None
