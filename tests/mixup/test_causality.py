"""In a model that generates nothing leaks: neither later tokens of the target nor the source's answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import GENERATIVE, batch, labels_for, mixup, text


def logits(model: Any, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def changed(ids: Tensor, column: int) -> Tensor:
    ids = ids.clone()
    ids[:, column] = (ids[:, column] - 4) % 50 + 5  # another ordinary token
    return ids


@pytest.mark.parametrize("family", GENERATIVE)
def test_no_later_token_of_the_answer_changes_an_earlier_logit(family: str) -> None:
    model = mixup(family)
    inputs = batch(family, target=(9, 9), source=(8, 8))  # answers begin at column 6
    before = logits(model, inputs)
    for column in (6, 7, 8):
        after = logits(model, inputs | {"input_ids": changed(inputs["input_ids"], column)})
        torch.testing.assert_close(after[:, :column], before[:, :column], rtol=0, atol=0)
        assert (after[:, column] - before[:, column]).abs().max() > 1e-3


@pytest.mark.parametrize("family", GENERATIVE)
def test_the_sources_answer_changes_no_logit(family: str) -> None:
    model = mixup(family)
    inputs = batch(family, target=(9, 9), source=(8, 8))  # the source's answers begin at column 6
    before = logits(model, inputs)
    for column in range(8):
        source = inputs["source"] | {"input_ids": changed(inputs["source"]["input_ids"], column)}
        after = logits(model, inputs | {"source": source})
        if column >= 6:
            torch.testing.assert_close(after, before, rtol=0, atol=0)
        else:
            assert (after - before).abs().max() > 1e-3, "its prompt does"


@pytest.mark.parametrize("family", GENERATIVE)
def test_the_answer_leaves_the_prompts_ratio_as_it_is(family: str) -> None:
    """Training with an answer and testing without it mix alike."""
    model = mixup(family)
    inputs = batch(family, target=(9, 9), source=(8, 8))
    prompt = {name: inputs[name][:, :6] for name in ("input_ids", "attention_mask")}
    prompt["source"] = {name: inputs["source"][name][:, :6] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        trained, tested = model(**inputs), model(**prompt)
    torch.testing.assert_close(tested.ratio, trained.ratio, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tested.logits, trained.logits[:, :6], rtol=1e-3, atol=1e-4)


def test_a_text_labelled_from_its_first_token_leaks_nothing() -> None:
    """It has no prompt: λ is measured on its first token, which nothing has to predict."""
    model = mixup("llama")
    ours = text((8, 8), 1)
    inputs = {**ours, "labels": ours["input_ids"].clone(), "source": text((6, 6), 2)}
    inputs["source"] |= labels_for("llama", inputs["source"])
    before = logits(model, inputs)
    for column in range(1, 8):
        after = logits(model, inputs | {"input_ids": changed(inputs["input_ids"], column)})
        torch.testing.assert_close(after[:, :column], before[:, :column], rtol=0, atol=0)


def test_a_prompt_mask_says_what_labels_say() -> None:
    model, inputs = mixup("gemma2"), batch("gemma2")
    wanted = logits(model, inputs)
    told = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    told["prompt_mask"] = inputs["labels"] == -100
    source = inputs["source"]
    told["source"] = {name: source[name] for name in ("input_ids", "attention_mask")}
    told["source"]["prompt_mask"] = source["labels"] == -100
    torch.testing.assert_close(logits(model, told), wanted)
