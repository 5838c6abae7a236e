"""Generation: cache or none, forward calls, batch or one by one, padding, beams and samples all agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import EOS, GENERATIVE, batch, mixup

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "samples": {"do_sample": True, "num_return_sequences": 2, "top_k": 5},
}


def new_tokens(model: Any, inputs: dict[str, Any], **settings: Any) -> Tensor:
    """[rows, 6]; no early end, so that every column is compared."""
    torch.manual_seed(5)
    usual = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    out = model.generate(**inputs, **usual | settings)
    times = len(out) // len(inputs["input_ids"])
    width = inputs["input_ids"].shape[1]
    assert (out[:, :width] == inputs["input_ids"].repeat_interleave(times, 0)).all()
    assert out.shape[1] == width + 6
    return out[:, width:]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", GENERATIVE)
def test_cached_equals_recomputed(family: str, way: str) -> None:
    model, inputs = mixup(family), batch(family, labelled=False)
    cached = new_tokens(model, inputs, use_cache=True, **WAYS[way])
    assert (cached == new_tokens(model, inputs, use_cache=False, **WAYS[way])).all()


@pytest.mark.parametrize("family", GENERATIVE)
def test_greedy_is_what_forward_calls_say(family: str) -> None:
    """Each token is the likeliest after prompt and answer so far, with λ from the prompt."""
    model, inputs = mixup(family), batch(family, labelled=False, side="left")
    answer = new_tokens(model, inputs)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for step in range(6):
        so_far = answer[:, :step]
        call = {
            "input_ids": torch.cat([ids, so_far], 1),
            "attention_mask": torch.cat([mask, torch.ones_like(so_far)], 1),
            "prompt_mask": torch.cat([mask, torch.zeros_like(so_far)], 1),
            "source": inputs["source"],
        }
        with torch.no_grad():
            logits = model(**call).logits[:, -1]
        logits[:, EOS] = -torch.inf  # min_new_tokens
        assert (logits.argmax(-1) == answer[:, step]).all()


@pytest.mark.parametrize("family", GENERATIVE)
def test_batch_equals_one_by_one_and_padding_changes_nothing(family: str) -> None:
    model, inputs = mixup(family), batch(family, labelled=False)
    together = new_tokens(model, inputs)
    assert (together != new_tokens(mixup(family, w=-1e6), inputs)).any(), "the source matters"
    for place in ({"side": "left", "source_side": "left"}, {"width": 12, "source_width": 11}):
        assert (together == new_tokens(model, batch(family, labelled=False, **place))).all()
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in inputs.items() if name != "source"}
        alone["source"] = {name: value[row : row + 1] for name, value in inputs["source"].items()}
        assert (new_tokens(model, alone) == together[row]).all()


def test_each_prompt_keeps_its_source_among_beams() -> None:
    """Two prompts that differ in their source alone generate what they do by themselves."""
    model = mixup("llama", w=0.0, b=6.0)
    inputs = batch("llama", labelled=False, target=(7, 7), source=(6, 6))
    inputs["input_ids"][1] = inputs["input_ids"][0]
    both = new_tokens(model, inputs, num_beams=3)
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in inputs.items() if name != "source"}
        alone["source"] = {name: value[row : row + 1] for name, value in inputs["source"].items()}
        assert (new_tokens(model, alone, num_beams=3)[0] == both[row]).all()


def test_the_source_is_read_once() -> None:
    model, inputs = mixup("llama"), batch("llama", labelled=False)
    widths: list[int] = []
    model.base.model.layers[0].register_forward_hook(
        lambda module, args, output: widths.append(output.shape[1] if torch.is_tensor(output) else -1)
    )
    new_tokens(model, inputs)
    assert widths == [8, 9, 1, 1, 1, 1, 1], "source, prompt, then token by token"


def test_without_a_mask_padding_is_told_by_its_token() -> None:
    model, inputs = mixup("llama"), batch("llama", labelled=False, side="left")
    wanted = new_tokens(model, inputs)
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    assert (new_tokens(model, bare) == wanted).all()


def test_a_dictionary_of_scores_comes_back_too() -> None:
    model, inputs = mixup("llama"), batch("llama", labelled=False)
    out = model.generate(**inputs, max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
    assert (out.sequences[:, :9] == inputs["input_ids"]).all()
