"""A fused layer's output is the paper's formula, recomputed by hand in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from .conftest import FAMILIES, FAMILY, batch, build, flare, real_logits

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


def base_states(family: str, inputs: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """What a base without adapters gives on the source, by list of blocks: its input, then each block's output."""
    base = build(family)
    states: dict[str, list[np.ndarray]] = {}
    paths = ["encoder.block", "decoder.block", "encoder.layer", "model.layers", "transformer.h"]
    for path, module in base.named_modules():
        if isinstance(module, torch.nn.ModuleList) and any(path.endswith(name) for name in paths):
            into = states[path] = []
            module[0].register_forward_pre_hook(
                lambda module, args, into=into: into.append(args[0].double().numpy())
            )
            for block in module:
                block.register_forward_hook(
                    lambda module, args, out, into=into: into.append(
                        (out if isinstance(out, torch.Tensor) else out[0]).double().numpy()
                    )
                )
    source = {"input_ids": inputs["source_input_ids"], "attention_mask": inputs["source_attention_mask"]}
    if family == "mt5":
        source["decoder_input_ids"] = inputs["decoder_input_ids"][:, :1]
    with torch.no_grad():
        base(**source)
    return states


def masks(family: str, decoder: bool, inputs: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Real tokens of targets and sources in a stack."""
    target, source = inputs["attention_mask"], inputs["source_attention_mask"]
    if family == "mt5" and decoder:  # the source's decoder sees its start token alone
        target, source = torch.ones_like(inputs["decoder_input_ids"]), torch.ones_like(source[:, :1])
    return target.numpy(), source.numpy()


@pytest.mark.parametrize("offset", [1, 0])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("family", FAMILY)
def test_fused_layers_compute_the_papers_formula(family: str, fusion: str, offset: int) -> None:
    inputs = batch(family)
    model = flare(family, fusion=fusion, source_offset=offset)
    tuner = model.base_model
    sites = tuner.sites["default"]
    assert len(sites) == len({key.split(".")[-1] for key in sites}) * 3 * (2 if "mt5" in family else 1)
    seen = {}
    for key in sites:
        layer = tuner.model.get_submodule(key)
        layer.register_forward_hook(lambda module, args, out, key=key: seen.__setitem__(key, (args[0], out)))
    with torch.no_grad():
        model(**inputs)
        bases = {
            key: tuner.model.get_submodule(key).base_layer(x).double().numpy() for key, (x, _) in seen.items()
        }
    states = base_states(family, inputs)
    for key, site in sites.items():
        stack = tuner.stacks[site.stack]
        assert stack.causal == (stack.decoder or FAMILY[family].kind == "decoder")
        layer = tuner.model.get_submodule(key)
        x, out = (value.double().numpy() for value in seen[key])
        down = layer.lora_A["default"].weight.double().numpy(force=True)
        up = layer.lora_B["default"].weight.double().numpy(force=True)
        weights = {
            name: value.double().numpy(force=True)
            for name, value in layer.lora_fusion["default"].named_parameters()
        }
        source_states = states[site.stack][site.layer + offset]
        target_masks, source_masks = masks(family, stack.decoder, inputs)
        for row in range(len(x)):
            at = np.flatnonzero(target_masks[row])
            source = source_states[row][np.flatnonzero(source_masks[row])] @ down.T
            hidden = by_hand(fusion, source, x[row][at] @ down.T, weights, stack.causal)
            wanted = bases[key][row][at] + 8 / 4 * hidden @ up.T
            np.testing.assert_allclose(out[row][at], wanted, atol=1e-5, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("family", FAMILIES)
def test_zero_source_with_add_is_lora(family: str) -> None:
    inputs = batch(family)
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
