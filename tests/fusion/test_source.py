"""The source pass: what it runs, what it keeps, and that its states may be kept for later."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import FAMILIES, batch, build, flare, labels_for, real_logits

HEADS = {
    "xlmr": "classifier",
    "xlmr_qa": "qa_outputs",
    "bert": "classifier",
    "mt5": "lm_head",
    "mt5_cls": "classification_head",
    "llama_cls": "score",
}


def source_of(inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return inputs["source_input_ids"], inputs["source_attention_mask"]


@pytest.mark.parametrize("family", FAMILIES)
def test_head_runs_once_and_blocks_twice(family: str) -> None:
    """Blocks run for the source and for the target; the head for the target alone."""
    model = flare(family)
    tuner = model.base_model
    calls: dict[str, int] = {}
    head = tuner.model.get_submodule(HEADS.get(family, "lm_head"))
    for name, module in (("head", head), ("block", tuner.fused_stacks[0].blocks[0])):
        module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1))
    model(**batch(family))
    assert calls == {"head": 1, "block": 2}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_states_of_fused_blocks_are_kept_once_each(family: str) -> None:
    model = flare(family, fusion_layers=[0, 2])
    kept: list[torch.Tensor] = []
    original = model.base_model._context

    def watched(*args: Any) -> Any:
        context = original(*args)
        kept.extend(state for source in context.sources.values() for state in source.states.values())
        return context

    model.base_model._context = watched
    model(**batch(family))
    stacks = 2 if "mt5" in family else 1
    assert len(kept) == 2 * stacks
    assert len({state.data_ptr() for state in kept}) == len(kept)
    assert {state.dtype for state in kept} == {torch.float32}
    assert model.base_model.flow.context is None


@pytest.mark.parametrize("family", FAMILIES)
def test_given_states_train_like_the_pass(family: str) -> None:
    """Same loss and gradients from states computed before, on other batches and in training mode."""
    base = build(family, **({"dropout_rate": 0.0} if "mt5" in family else {}))
    model = flare(family, base, fusion="cross_attention").train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs = batch(family)
    labels = labels_for(family, inputs)
    found = []
    states = model.base_model.encode_source(*source_of(inputs))
    given = {name: value for name, value in inputs.items() if name != "source_input_ids"} | {
        "source_states": states
    }
    for call in (inputs, given):
        model.zero_grad()
        loss = model(**call | labels).loss
        loss.backward()
        found.append(
            (loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        )
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(
            found[1][1][name], gradient, rtol=1e-3, atol=1e-5 * max(1, float(gradient.abs().max()))
        )


@pytest.mark.parametrize("family", ["xlmr", "bert", "llama"])
def test_states_of_a_text_depend_on_nothing_else(family: str) -> None:
    """Not on padding, batch, adapter, fusion, or training: so that they can be cached by text."""
    inputs = batch(family)
    ids, mask = source_of(inputs)
    model = flare(family)
    wanted = model.base_model.encode_source(ids, mask)
    assert (wanted[mask[:, None].expand(-1, 3, -1) == 0] == 0).all()
    other = flare(family, fusion="mul", r=2, lora_alpha=1).train()
    torch.testing.assert_close(other.base_model.encode_source(ids, mask), wanted, atol=1e-6, rtol=0)
    padded_ids, padded_mask = source_of(batch(family, source_width=12, source_side="left"))
    padded = model.base_model.encode_source(padded_ids, padded_mask)
    for row in range(3):
        real, padded_real = mask[row].bool(), padded_mask[row].bool()
        alone = model.base_model.encode_source(ids[row : row + 1, real], None)[0]
        torch.testing.assert_close(alone, wanted[row][:, real], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(padded[row][:, padded_real], wanted[row][:, real], atol=1e-5, rtol=1e-4)


def test_states_may_be_kept_in_half_precision() -> None:
    model = flare("xlmr")
    inputs = batch()
    wanted = real_logits(model, inputs)
    states = model.base_model.encode_source(*source_of(inputs)).half()
    del inputs["source_input_ids"]
    torch.testing.assert_close(
        real_logits(model, inputs | {"source_states": states}), wanted, atol=1e-2, rtol=0
    )


def test_segments_of_the_source_are_its_own() -> None:
    """BERT's token types: those of the source go with the source."""
    model = flare("bert")
    inputs = batch("bert", source_side="left", source_width=9)
    types = inputs["source_attention_mask"].cumsum(1) > 2
    wanted = real_logits(model, inputs | {"source_token_type_ids": types.long()})
    assert (real_logits(model, inputs) - wanted).abs().max() > 1e-4
    right = batch("bert")
    types = right["source_attention_mask"] * (right["source_attention_mask"].cumsum(1) > 2)
    found = real_logits(model, right | {"source_token_type_ids": types.long()})
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_autocast() -> None:
    """Under autocast, training and its states stay finite and close to full precision."""
    model = flare("xlmr").train()
    inputs = batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**inputs, **labels_for("xlmr", inputs)).loss
    loss.backward()
    assert all(
        p.grad.isfinite().all() for n, p in model.named_parameters() if "lora_A" in n and p.grad is not None
    )
    with torch.autocast("cpu", torch.bfloat16):
        rounded = real_logits(model.eval(), inputs)
    torch.testing.assert_close(rounded.float(), real_logits(model, inputs), atol=0.1, rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["xlmr", "llama"])
def test_compiled_is_the_same(family: str) -> None:
    """torch.compile works: the same logits and gradients, with other lengths too."""
    model = flare(family, build(family, num_hidden_layers=1), fusion="cross_attention")
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager")
    for inputs in (batch(family), batch(family, target=(7, 3, 6), source=(5, 9, 5))):
        torch.testing.assert_close(
            real_logits(compiled, inputs), real_logits(model, inputs), atol=1e-4, rtol=1e-4
        )
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs = batch(family)
    inputs |= labels_for(family, inputs)
    found = []
    for either in (model, compiled):
        model.zero_grad()
        either(**inputs).loss.backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", ["xlmr", "llama"])
def test_on_a_gpu_in_bf16(family: str) -> None:
    """The same loss on a GPU, to bf16's rounding, and finite gradients."""
    inputs = batch(family)
    inputs |= labels_for(family, inputs)
    wanted = float(flare(family)(**inputs).loss)
    model = flare(family, build(family).to("cuda", torch.bfloat16)).train()
    loss = model.eval()(**{name: value.cuda() for name, value in inputs.items()}).loss
    loss.backward()
    assert float(loss) == pytest.approx(wanted, rel=0.1)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
