"""Padding, on either side of either text, and the rest of the batch change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import FAMILIES, batch, mixup, scores_of

PLACES: list[dict[str, Any]] = [
    {"side": "left"},
    {"source_side": "left"},
    {"side": "left", "source_side": "left", "width": 14, "source_width": 11},
    {"width": 13, "source_width": 15},
]


def same(one: Any, other: Any, inputs: dict[str, Any], others: dict[str, Any]) -> None:
    near = {"rtol": 2e-3, "atol": 2e-4}
    for ours, theirs in zip(scores_of(one, inputs), scores_of(other, others), strict=True):
        torch.testing.assert_close(ours, theirs, **near)
    torch.testing.assert_close(one.ratio, other.ratio, **near)
    torch.testing.assert_close(one.loss, other.loss, **near)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family: str) -> None:
    model, inputs = mixup(family), batch(family)
    with torch.no_grad():
        plain = model(**inputs)
        for place in PLACES:
            padded = batch(family, **place)
            same(plain, model(**padded), inputs, padded)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rest_of_the_batch_changes_nothing(family: str) -> None:
    model, inputs = mixup(family), batch(family, labelled=False)
    with torch.no_grad():
        together = model(**inputs)
        for row in range(3):
            alone = {name: value[row : row + 1] for name, value in inputs.items() if name != "source"}
            alone["source"] = {name: value[row : row + 1] for name, value in inputs["source"].items()}
            single = model(**alone)
            torch.testing.assert_close(
                scores_of(single, alone)[0], scores_of(together, inputs)[row], rtol=2e-3, atol=2e-4
            )
            torch.testing.assert_close(single.ratio[0], together.ratio[row], rtol=2e-3, atol=2e-4)


def test_without_masks_all_tokens_are_real() -> None:
    model = mixup("xlmr")
    inputs = batch("xlmr", labelled=False, target=(7, 7), source=(5, 5))
    bare = {"input_ids": inputs["input_ids"], "source": {"input_ids": inputs["source"]["input_ids"]}}
    with torch.no_grad():
        torch.testing.assert_close(model(**bare).logits, model(**inputs).logits)
