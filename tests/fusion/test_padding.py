"""Padding, row order and the rest of a batch change no result; token-wise means real tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import FAMILIES, RIGHT_ONLY, batch, flare, real_logits, text


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal beyond rounding: to 2e-5 of the logits' size (mT5's are in the tens)."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5 * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize("fusion", ["add_relu", "mul_relu", "cross_attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_of_source_changes_nothing(family: str, fusion: str) -> None:
    model = flare(family, fusion=fusion)
    wanted = real_logits(model, batch(family))
    for side in ("left", "right"):
        for width in (8, 13):
            padded = batch(family, source_width=width, source_side=side)
            close(real_logits(model, padded), wanted)
            states = model.base_model.encode_source(
                padded.pop("source_input_ids"), padded["source_attention_mask"]
            )
            close(real_logits(model, padded | {"source_states": states}), wanted)


@pytest.mark.parametrize("fusion", ["add_relu", "mul_relu", "cross_attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_of_target_changes_nothing(family: str, fusion: str) -> None:
    model = flare(family, fusion=fusion)
    wanted = real_logits(model, batch(family))
    for side in ("left", "right") if family not in RIGHT_ONLY else ("right",):
        for width in (9, 14):
            close(real_logits(model, batch(family, width=width, side=side)), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_do_not_depend_on_the_batch(family: str) -> None:
    model = flare(family, fusion="cross_attention")
    inputs = batch(family)
    together = real_logits(model, inputs, flat=False)
    order = torch.tensor([2, 0, 1])
    turned = real_logits(model, {name: value[order] for name, value in inputs.items()}, flat=False)
    for place, row in enumerate(order.tolist()):
        close(turned[place], together[row])
    for row in range(3):
        alone = real_logits(model, {name: value[row : row + 1] for name, value in inputs.items()}, flat=False)
        close(alone[0], together[row])


@pytest.mark.parametrize("family", FAMILIES)
def test_source_matters_and_only_where_it_should(family: str) -> None:
    """Another source moves the logits; a source token beyond the target's length does not."""
    model = flare(family, fusion="add_relu")
    inputs = batch(family, target=(5, 5, 5), source=(5, 6, 5))
    wanted = real_logits(model, inputs, flat=False)
    other = {**inputs, "source_input_ids": text((5, 6, 5), seed=9)[0]}
    assert (
        min((a - b).abs().max() for a, b in zip(real_logits(model, other, flat=False), wanted, strict=True))
        > 1e-3
    )
    states = model.base_model.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
    for part in (states,) if isinstance(states, torch.Tensor) else states:
        if part.shape[2] > 5:
            part[:, :, 5:] = 100.0
    given: dict[str, Any] = {name: value for name, value in inputs.items() if name != "source_input_ids"}
    beyond = real_logits(model, given | {"source_states": states}, flat=False)
    for a, b in zip(beyond, wanted, strict=True):
        close(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_row_without_source_tokens_goes_without_source(family: str) -> None:
    model = flare(family, fusion="mul")
    inputs = batch(family)
    wanted = real_logits(model, inputs, flat=False)
    emptied = inputs["source_attention_mask"].clone()
    emptied[1] = 0
    some = real_logits(model, inputs | {"source_attention_mask": emptied}, flat=False)
    target = {name: value for name, value in inputs.items() if not name.startswith("source")}
    none = real_logits(model, target | {"without_source": True}, flat=False)
    close(some[0], wanted[0])
    close(some[1], none[1])
    assert (none[1] - wanted[1]).abs().max() > 1e-3
