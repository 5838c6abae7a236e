"""Generation: cache or none, batch or one by one, beams, samples, and teacher forcing all agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from .conftest import CAUSAL_LM, EOS, PAD, batch, families, flare

GENERATIVE = families([*CAUSAL_LM, "mt5"])
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "samples": {"do_sample": True, "num_return_sequences": 2, "top_k": 5},
}


def prompts(family: str, **where: Any) -> dict[str, Any]:
    """Prompts as `generate` wants them: on the right end of their rows in a decoder-only model."""
    side = "right" if family == "mt5" else "left"
    inputs = batch(family, side=side, **where)
    inputs.pop("decoder_input_ids", None)
    return inputs


def generate(model: Any, inputs: dict[str, Any], **settings: Any) -> torch.Tensor:
    """New tokens alone, [rows, 6]: no early end, so that every column is compared."""
    torch.manual_seed(3)
    found = model.generate(**inputs, max_new_tokens=6, min_new_tokens=6, **settings)
    return found[:, -6:]


@pytest.mark.parametrize("after_prompt", ["none", "source_generation"])
@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("family", GENERATIVE)
def test_cache_changes_no_token(family: str, way: str, fusion: str, after_prompt: str) -> None:
    model = flare(family, fusion=fusion, after_prompt=after_prompt)
    inputs = prompts(family)
    cached = generate(model, inputs, use_cache=True, **WAYS[way])
    recomputed = generate(model, inputs, use_cache=False, **WAYS[way])
    assert torch.equal(cached, recomputed)


@pytest.mark.parametrize("after_prompt", ["none", "source_generation"])
@pytest.mark.parametrize("family", GENERATIVE)
def test_batch_is_one_by_one(family: str, after_prompt: str) -> None:
    model = flare(family, fusion="cross_attention", after_prompt=after_prompt)
    inputs = prompts(family, source_side="left")
    for way in ("greedy", "beams"):
        each = WAYS[way].get("num_return_sequences", 1)
        together = generate(model, inputs, **WAYS[way])
        for row in range(3):
            one = {name: value[row : row + 1] for name, value in inputs.items()}
            width = int(one["attention_mask"].sum())
            if family != "mt5":
                one |= {name: one[name][:, -width:] for name in ("input_ids", "attention_mask")}
            assert torch.equal(generate(model, one, **WAYS[way]), together[row * each : (row + 1) * each])


def logits_of(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    return model.generate(**inputs, **settings, output_logits=True, return_dict_in_generate=True).logits


@pytest.mark.parametrize("family", GENERATIVE)
def test_the_source_is_heard_in_generation(family: str) -> None:
    """In the first step always; in later ones what after_prompt says."""
    inputs = prompts(family)
    turned = {
        name: value.roll(1, 0) if name.startswith("source") else value for name, value in inputs.items()
    }
    none = flare(family, fusion="add_relu", after_prompt="none")
    answering = flare(family, fusion="add_relu", after_prompt="source_generation")
    wanted = logits_of(none, inputs)
    assert (logits_of(none, turned)[0] - wanted[0]).abs().max() > 1e-3
    found = logits_of(answering, inputs)
    torch.testing.assert_close(found[0], wanted[0], atol=1e-4, rtol=1e-3)
    assert (found[1] - wanted[1]).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", ["add_relu", "mul", "cross_attention"])
@pytest.mark.parametrize("family", families(CAUSAL_LM))
def test_teacher_forcing_gives_the_scores_of_generation(family: str, fusion: str) -> None:
    """Labels mark the prompt: in training, answer tokens see as little of the source as in generation."""
    if family == "gpt2":
        pytest.skip("GPT-2's positions count the padding unless they are given: a matter of its base")
    model = flare(family, fusion=fusion)
    inputs = prompts(
        family, source=(14, 14, 14)
    )  # longer than the prompts: its rest must not reach the answer
    found = model.generate(
        **inputs,
        max_new_tokens=5,
        min_new_tokens=5,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    answer = found.sequences[:, -5:]
    forced = dict(inputs)
    forced["input_ids"] = found.sequences
    forced["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(answer)], 1)
    labels = torch.cat([torch.full_like(inputs["input_ids"], -100), answer], 1)
    with torch.no_grad():
        by_labels = model(**forced, labels=labels).logits
        by_mask = model(**forced, prompt_mask=labels == -100).logits
        unmarked = model(**forced).logits
    wanted = torch.stack(found.logits, 1)
    torch.testing.assert_close(by_labels[:, -6:-1], wanted, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(by_mask[:, -6:-1], wanted, atol=1e-4, rtol=1e-3)
    assert (unmarked[:, -5:-1] - wanted[:, 1:]).abs().max() > 1e-3


def test_forced_answers_fuse_step_by_step_with_the_sources() -> None:
    """after_prompt="source_generation": training on the base's own answer gives generation's scores."""
    model = flare("llama", fusion="cross_attention", after_prompt="source_generation")
    inputs = prompts("llama")
    found = model.generate(
        **inputs,
        max_new_tokens=5,
        min_new_tokens=5,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    ids, mask = inputs["source_input_ids"], inputs["source_attention_mask"].bool()
    rows = []
    with torch.no_grad(), model.disable_adapter():
        for row, real in zip(ids, mask, strict=True):
            prompt = row[real][None]
            rows.append(
                model.generate(input_ids=prompt, max_new_tokens=5, do_sample=False, pad_token_id=PAD)[0]
            )
    ends = [(row == EOS).nonzero().flatten() for row in rows]
    kept = []
    for row, real, end in zip(rows, mask.sum(1).tolist(), ends, strict=True):
        after = [place for place in end.tolist() if place >= real]
        kept.append(row[: after[0] + 1] if after else row)
    width = max(len(row) for row in kept)
    source = torch.full((3, width), PAD)
    source_mask, source_prompt = torch.zeros_like(source), torch.zeros_like(source)
    for place, (row, real) in enumerate(zip(kept, mask.sum(1).tolist(), strict=True)):
        source[place, : len(row)], source_mask[place, : len(row)], source_prompt[place, :real] = row, 1, 1
    answer = found.sequences[:, -5:]
    forced = {
        "input_ids": found.sequences,
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(answer)], 1),
        "labels": torch.cat([torch.full_like(inputs["input_ids"], -100), answer], 1),
        "source_input_ids": source,
        "source_attention_mask": source_mask,
        "source_prompt_mask": source_prompt,
    }
    with torch.no_grad():
        logits = model(**forced).logits[:, -6:-1]
    torch.testing.assert_close(logits, torch.stack(found.logits, 1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
def test_a_cache_of_ones_own(fusion: str) -> None:
    """A caller's own loop over pieces of a text with a cache gives the logits of the whole."""
    model = flare("llama", fusion=fusion)
    inputs = batch("llama", target=(9, 9, 9))
    source = {name: value for name, value in inputs.items() if name.startswith("source")}
    with torch.no_grad():
        whole = model(**inputs).logits
        cache, pieces = DynamicCache(config=model.config), []
        for start, end in ((0, 4), (4, 5), (5, 9)):
            pieces.append(
                model(
                    input_ids=inputs["input_ids"][:, start:end],
                    attention_mask=inputs["attention_mask"][:, :end],
                    past_key_values=cache,
                    use_cache=True,
                    **source,
                ).logits
            )
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-4, rtol=1e-3)


def test_a_cache_filled_without_fusion_is_refused() -> None:
    model = flare("llama", fusion="cross_attention")
    inputs = batch("llama", target=(9, 9, 9))
    source = {name: value for name, value in inputs.items() if name.startswith("source")}
    with torch.no_grad():
        cache = model(input_ids=inputs["input_ids"][:, :4], use_cache=True, **source).past_key_values
        with pytest.raises(RuntimeError, match="from the first call on"):
            model(input_ids=inputs["input_ids"][:, 4:], past_key_values=cache, **source)


@pytest.mark.parametrize("task", ["CAUSAL_LM", None])
def test_static_cache_prompt_lookup_and_given_states(task: str | None) -> None:
    model = flare("llama", fusion="cross_attention", task_type=task)
    inputs = prompts("llama")
    wanted = generate(model, inputs)
    assert torch.equal(generate(model, inputs, cache_implementation="static", disable_compile=True), wanted)
    one = {name: value[:1] for name, value in inputs.items()}
    assert torch.equal(generate(model, one, prompt_lookup_num_tokens=2), wanted[:1])
    states = model.base_model.encode_source(inputs.pop("source_input_ids"), inputs["source_attention_mask"])
    assert torch.equal(generate(model, {**inputs, "source_states": states}), wanted)


@pytest.mark.parametrize("fusion", ["add", "mul_relu", "cross_attention"])
@pytest.mark.parametrize("family", families([*CAUSAL_LM, "llama_cls", "mt5"]))
def test_no_causal_leak(family: str, fusion: str) -> None:
    """A later target token changes no earlier logit: in cross-attention the answer would leak into the prompt."""
    model = flare(family, fusion=fusion)
    inputs = batch(family, target=(9, 9), source=(9, 9))
    name = "decoder_input_ids" if family == "mt5" else "input_ids"
    seen: dict[str, torch.Tensor] = {}
    stack = next(stack for stack in model.base_model.fused_stacks if stack.decoder or family != "mt5")
    hook = stack.blocks[-1].register_forward_hook(
        lambda block, args, out: seen.__setitem__("states", out if isinstance(out, torch.Tensor) else out[0])
    )
    with torch.no_grad():
        model(**inputs)
        before = seen["states"]
        inputs[name] = inputs[name].clone()
        inputs[name][:, -2] = 40
        states = model.base_model.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
        del inputs["source_input_ids"]
        model(**inputs, source_states=states)
    hook.remove()
    changed = (seen["states"] - before).abs().amax(-1)
    assert changed[:, :-2].max() < 1e-5
    assert changed[:, -2:].max() > 1e-3
