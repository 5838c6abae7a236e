"""A fused layer's output is the paper's formula, recomputed by hand in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from .conftest import FAMILIES, batch, build, flare, last_block_states, real_logits, shift_for_decoder

FUSIONS = ["add", "mul", "add_relu", "mul_relu", "cross_attention"]


def by_hand(
    fusion: str, source: np.ndarray, target: np.ndarray, weights: dict[str, np.ndarray], causal: bool
) -> Any:
    """h of one sentence from S [m, r] and T [n, r] of its real tokens alone (Section 3.2 and its table)."""
    hidden = np.empty_like(target)
    for i, t in enumerate(target):
        has_source = i < len(source)
        if fusion == "cross_attention":
            if not has_source:
                hidden[i] = t
                continue
            keys = target[: i + 1] if causal else target
            scores = (weights["query"] @ source[i]) @ (keys @ weights["key"].T).T / np.sqrt(len(t))
            shares = np.exp(scores - scores.max())
            hidden[i] = (shares / shares.sum()) @ (keys @ weights["value"].T)
            continue
        neutral = 0.0 if fusion.startswith("add") else 1.0
        s = source[i] if has_source else np.full_like(t, neutral)
        if fusion.endswith("relu"):
            s, t = np.maximum(s, 0), np.maximum(t, 0)
        hidden[i] = s + t if fusion.startswith("add") else s * t
    return hidden


@pytest.mark.parametrize("offset", [1, 0])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_fused_layers_compute_the_papers_formula(family: str, fusion: str, offset: int) -> None:
    inputs = batch()
    model = flare(family, fusion=fusion, source_offset=offset)
    tuner = model.base_model
    sites = tuner.sites["default"]
    seen = {}
    for key in sites:
        layer = tuner.model.get_submodule(key)
        layer.register_forward_hook(lambda module, args, out, key=key: seen.__setitem__(key, (args[0], out)))
    model(**inputs)
    seen_in_target = dict(seen)
    states = last_block_states(build(family), family, inputs)
    for key, site in sites.items():
        stack = tuner.stacks[site.stack]
        layer = tuner.model.get_submodule(key)
        x, out = (value.double().numpy(force=True) for value in seen_in_target[key])
        down = layer.lora_A["default"].weight.double().numpy(force=True)
        up = layer.lora_B["default"].weight.double().numpy(force=True)
        weights = {
            name: value.double().numpy(force=True)
            for name, value in layer.lora_fusion["default"].named_parameters()
        }
        base = layer.base_layer(seen_in_target[key][0]).double().numpy(force=True)
        source_states = states[stack.decoder][site.layer + offset].double().numpy(force=True)
        for row in range(len(x)):
            target_mask, source_mask, source_tokens = shift_for_decoder(family, stack.decoder, inputs, row)
            target_at = np.flatnonzero(target_mask)
            source = source_states[row][np.flatnonzero(source_mask)][:source_tokens] @ down.T
            hidden = by_hand(fusion, source, x[row][target_at] @ down.T, weights, stack.causal)
            wanted = base[row][target_at] + 8 / 4 * hidden @ up.T
            np.testing.assert_allclose(out[row][target_at], wanted, atol=1e-5, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("family", FAMILIES)
def test_zero_source_with_add_is_lora(family: str) -> None:
    inputs = batch()
    model = flare(family, fusion="add")
    tuner = model.base_model
    states = tuner.encode_source(inputs.pop("source_input_ids"), inputs["source_attention_mask"])
    zero = (
        torch.zeros_like(states) if isinstance(states, torch.Tensor) else tuple(map(torch.zeros_like, states))
    )
    fused = real_logits(model, {**inputs, "source_states": zero})
    del inputs["source_attention_mask"]
    alone = real_logits(model, {**inputs, "without_source": True})
    for key in tuner.sites["default"]:
        tuner.model.get_submodule(key).lora_variant.clear()  # what remains is PEFT's own LoRA layer
    lora = real_logits(model, {**inputs, "without_source": True})
    torch.testing.assert_close(fused, lora, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(alone, lora, atol=1e-6, rtol=1e-5)
