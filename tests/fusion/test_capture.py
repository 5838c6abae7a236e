"""Captured activations are the mean |S|, |T| and |h| of real tokens, and capture costs nothing when off."""

from __future__ import annotations

import pytest
import torch

from flare_ray.fusion import capture_activations

from .conftest import batch, flare


@pytest.mark.parametrize("family", ["xlmr", "llama", "mt5"])
def test_means_and_tokens(family: str) -> None:
    model = flare(family, fusion="add")
    inputs = batch(family)
    key, site = next(iter(model.base_model.sites["default"].items()))
    layer = model.base_model.model.get_submodule(key)
    seen = []
    layer.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    states = model.base_model.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
    seen.clear()
    with torch.no_grad(), capture_activations(model, rows=2) as activations:
        model(**inputs)
        model(**inputs)  # a second batch: means stay means
    down = layer.lora_A["default"].weight
    target, source = inputs["attention_mask"].bool(), inputs["source_attention_mask"].bool()
    states = states if isinstance(states, torch.Tensor) else states[0]
    t = (seen[-1] @ down.T).abs().mean(-1)
    n = min(target.shape[1], source.shape[1])
    s = (states[:, 0] @ down.T).abs().mean(-1)[:, :n][(source[:, :n] & target[:, :n])]
    row = next(row for row in activations.means() if row["module"] == key)
    assert (row["layer"], row["fusion"], row["stack"]) == (0, "add", site.stack)
    assert row["target"] == pytest.approx(float(t[target].mean()), rel=1e-4)
    assert row["source"] == pytest.approx(float(s.mean()), rel=1e-4)
    assert row["fused"] > 0
    values = (seen[-1] @ down.T).abs()[target]
    assert row["target_std"] == pytest.approx(float(values.std(correction=0)), rel=1e-4)
    assert (row["target_tokens"], row["source_tokens"]) == (2 * int(target.sum()), 2 * len(s))
    assert len(activations.tokens[key]) == 2
    tokens = activations.tokens[key][1]
    torch.testing.assert_close(tokens["target"], t[1][target[1]].detach(), atol=1e-5, rtol=1e-4)
    assert tokens["source"].isfinite().sum() == min(int(target[1].sum()), int(source[1].sum()))
    assert len(activations.means()) == len(model.base_model.sites["default"])


def test_capture_ends_with_its_block() -> None:
    model = flare("xlmr")
    with capture_activations(model) as activations:
        model(
            **batch(),
        )
    before = [row["target"] for row in activations.means()]
    model(**batch(target=(3, 3, 3)))
    assert [row["target"] for row in activations.means()] == before
    assert model.base_model.flow.capture is None
    with capture_activations(model) as alone:
        model(**{n: v for n, v in batch().items() if not n.startswith("source")}, without_source=True)
    assert all(torch.tensor(row["source"]).isnan() for row in alone.means())
