"""λ and the mixed state are what the paper says, recomputed by hand; the block's own weights make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from flare_ray.mixup.mixing import Mixture

from . import oracle
from .conftest import FAMILIES, GENERATIVE, WHOLE, adapted, batch, mixup, scores_of


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What goes in and out of every mixing."""
    calls: list[dict[str, Any]] = []
    mix = Mixture.mix

    def spy(self: Mixture, states: Any, positions: Any, attended: Any) -> Any:
        out = mix(self, states, positions, attended)
        calls.append({"mixture": self, "states": states, "attended": attended, "out": out})
        return out

    monkeypatch.setattr(Mixture, "mix", spy)
    return calls


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_ratio_and_mixed_state_by_hand(family: str, block: int, seen: list[dict[str, Any]]) -> None:
    model = mixup(family, block=block)
    inputs = batch(family)
    with torch.no_grad():
        output = model(**inputs)
    (call,) = seen
    mixture = call["mixture"]
    for row in range(3):
        prompt, visible = mixture.prompt[row], mixture.visible[row]
        real = inputs["attention_mask"][row].bool()
        target, source = call["states"][row], mixture.source.states[row]
        scores, crossed = oracle.cross(model, oracle.number(target[real]), oracle.number(source[visible]))
        wanted = oracle.ratio(model, scores[:, : int(prompt.sum())])
        assert output.ratio[row].item() == pytest.approx(wanted, rel=1e-4)
        attended = oracle.number(call["attended"][row][real])
        mixed = wanted * crossed + (1 - wanted) * attended
        np.testing.assert_allclose(oracle.number(call["out"][row][real]), mixed, rtol=2e-3, atol=2e-4)
    if family in GENERATIVE:
        assert mixture.prompt.sum(1).tolist() == [6, 3, 4], "λ reads the target's prompt alone"
        assert mixture.visible.sum(1).tolist() == [4, 6, 3], "the source's answer is never seen"


def test_source_states_come_from_a_plain_run_with_adapters(seen: list[dict[str, Any]]) -> None:
    model, inputs = mixup("xlmr"), batch("xlmr", labelled=False)
    kept: list[Any] = []
    handle = model.place.block.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    with torch.no_grad():
        plain = model.model(**inputs["source"])
        output = model(**inputs)
    handle.remove()
    torch.testing.assert_close(seen[0]["mixture"].source.states, kept[0])
    torch.testing.assert_close(output.source_logits, plain.logits)


@pytest.mark.parametrize("family", ["xlmr", "bert", "mt5", "llama", "gemma2"])
def test_the_mixture_takes_the_attention_outputs_place(family: str, seen: list[dict[str, Any]]) -> None:
    """Residual and norm around it are the block's own."""
    model = mixup(family)
    block = model.place.block
    entered: list[Any] = []
    left: list[Any] = []

    def keep(into: list[Any]) -> Any:
        return lambda module, args, output: into.append((args[0], output))

    behind = {
        "mt5": lambda: block.layer[0],
        "llama": lambda: block.post_attention_layernorm,
        "gemma2": lambda: block.post_attention_layernorm,
    }.get(family, lambda: block.attention)()
    block.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    behind.register_forward_hook(keep(left))
    with torch.no_grad():
        model(**batch(family))
        states, mixed = entered[-1], seen[0]["out"]
        came, went = left[-1]
        if family == "llama":
            torch.testing.assert_close(came, states + mixed)
        elif family == "gemma2":
            torch.testing.assert_close(came, mixed)
        elif family == "mt5":
            torch.testing.assert_close(went[0], states + mixed)
        else:
            closing = block.attention.output
            torch.testing.assert_close(went[0], closing.LayerNorm(closing.dense(mixed) + states))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_weights_but_w_and_b_are_new(family: str) -> None:
    model = mixup(family)
    plain = {f"model.{name}" for name, _ in adapted(family).named_parameters()}
    assert {name for name, _ in model.named_parameters()} - plain == {"mixup.weight", "mixup.bias"}
    fresh = mixup(family, w=1.0, b=0.0)
    assert fresh.mixup.weight.item() == 1.0
    assert fresh.mixup.bias.item() == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_ratio_lies_between_zero_and_a_half(family: str) -> None:
    for w, b in ((1.0, 0.0), (-1.0, 0.0), (0.1, 5.0), (-0.1, -5.0)):
        ratio = mixup(family, w=w, b=b)(**batch(family)).ratio
        assert ((ratio > 0) & (ratio < 0.5)).all()
    wide = mixup(family, w=0.1, b=5.0, ratio_limit=0.9)(**batch(family)).ratio
    assert ((wide > 0.5) & (wide < 0.9)).all()


def plain_scores(model: Any, inputs: dict[str, Any]) -> list[torch.Tensor]:
    output = model.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    if "start_logits" in output:
        both = torch.stack([output.start_logits, output.end_logits], -1)
        return [row[mask.bool()] for row, mask in zip(both, inputs["attention_mask"], strict=True)]
    return scores_of(output, inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_share_the_model_is_the_plain_one(family: str) -> None:
    inputs = batch(family, labelled=False)
    model = mixup(family, w=-1e6, b=0.0)
    with torch.no_grad():
        torch.testing.assert_close(
            scores_of(model(**inputs), inputs), plain_scores(model, inputs), rtol=1e-4, atol=1e-4
        )
        mixing = mixup(family)
        differs = zip(scores_of(mixing(**inputs), inputs), plain_scores(mixing, inputs), strict=True)
        assert all((a - b).abs().max() > 1e-3 for a, b in differs), "and with one it is not"


@pytest.mark.parametrize("family", [name for name in WHOLE if name != "llama_cls"])
def test_a_source_equal_to_the_target_changes_nothing(family: str) -> None:
    """Both attentions are then the same, whatever λ is: positions, heads, scales and masks agree."""
    inputs = batch(family, labelled=False)
    inputs["source"] = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    model = mixup(family, b=3.0)
    with torch.no_grad():
        torch.testing.assert_close(
            scores_of(model(**inputs), inputs), plain_scores(model, inputs), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("family", ["llama_cls", *GENERATIVE])
def test_the_last_token_of_a_causal_model_sees_the_same_source(
    family: str, seen: list[dict[str, Any]]
) -> None:
    """It looks at the whole prompt, and so in an equal source at the same tokens with the same positions."""
    settings: dict[str, Any] = {} if family != "gemma2" else {"block": 1}  # block 1 has no window
    inputs = batch(family, labelled=False, side="left")
    inputs["source"] = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        mixup(family, b=3.0, **settings)(**inputs)
    call = seen[0]
    last = call["mixture"].prompt.long().cumsum(1).argmax(1)
    rows = torch.arange(3)
    torch.testing.assert_close(call["out"][rows, last], call["attended"][rows, last], rtol=1e-3, atol=1e-4)
    assert (call["out"][rows, last - 2] - call["attended"][rows, last - 2]).abs().max() > 1e-3


def test_wrapped_model_alone_is_as_it_was() -> None:
    model, inputs = mixup("xlmr"), batch("xlmr", labelled=False)
    before = plain_scores(model, inputs)
    model(**inputs)
    torch.testing.assert_close(plain_scores(model, inputs), before, rtol=0, atol=0)
    assert not any(len(module._forward_hooks) for module in model.modules())
