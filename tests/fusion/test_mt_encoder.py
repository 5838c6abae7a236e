"""FLARE MT: a translation encoder's states, projected, instead of a source text (Appendix C)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from .conftest import FAMILIES, batch, build, flare, labels_for, real_logits

WIDTH = 12


def given(family: str, side: str = "right", width: int = 11) -> dict[str, Any]:
    """Targets, and the states of a translation encoder whose texts are longer or shorter."""
    inputs = batch(family, source=(11, 4, 7), source_width=width, source_side=side)
    del inputs["source_input_ids"]
    mask = inputs["source_attention_mask"]
    values = torch.randn(3, 11, WIDTH, generator=torch.Generator().manual_seed(4))
    states = torch.full((*mask.shape, WIDTH), 50.0)
    for row in range(3):
        real = mask[row].bool()
        states[row, real] = values[row, : int(real.sum())]
    return inputs | {"source_states": states}


def mt(family: str, **settings: Any) -> Any:
    return flare(family, source="mt_encoder", source_width=WIDTH, **settings)


@pytest.mark.parametrize("projection", ["linear", "mlp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_projection_trains_is_saved_and_loaded(family: str, projection: str, tmp_path: Path) -> None:
    model = mt(family, projection=projection).train()
    inputs = given(family)
    model(**inputs | labels_for(family, inputs)).loss.backward()
    trained = {n: p for n, p in model.named_parameters() if "lora_source_projection" in n}
    assert len(trained) == (1 if projection == "linear" else 4)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    torch.optim.AdamW(trained.values(), lr=0.05).step()
    wanted = real_logits(model.eval(), inputs)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(build(family), tmp_path, adapter_name="other", low_cpu_mem_usage=True)
    assert torch.equal(real_logits(loaded, inputs), wanted)
    assert not any(p.requires_grad for p in loaded.parameters())
    again = PeftModel.from_pretrained(build(family), tmp_path, is_trainable=True)
    assert all(p.requires_grad for n, p in again.named_parameters() if "lora_source_projection" in n)


@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
@pytest.mark.parametrize("family", ["xlmr", "llama", "mt5_cls"])
def test_projected_states_are_what_every_block_fuses(family: str, fusion: str) -> None:
    """The same logits as plain FLARE given W^proj v for each block."""
    model = mt(family, fusion=fusion)
    inputs = given(family)
    wanted = real_logits(model, inputs)
    plain = flare(family, fusion=fusion)
    plain.load_state_dict(model.state_dict(), strict=False)
    weight = model.base_model.lora_source_projection["default"].weight
    with torch.no_grad():
        states = (inputs["source_states"] @ weight.T)[:, None].expand(-1, 3, -1, -1)
    inputs["source_states"] = (states, states) if "mt5" in family else states
    torch.testing.assert_close(real_logits(plain, inputs), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["xlmr", "llama", "mt5"])
def test_padding_of_translation_states_changes_nothing(family: str) -> None:
    model = mt(family)
    wanted = real_logits(model, given(family))
    for side, width in (("left", 11), ("left", 15), ("right", 15)):
        torch.testing.assert_close(
            real_logits(model, given(family, side, width)), wanted, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("family", ["llama", "mt5"])
def test_generation_with_translation_states(family: str) -> None:
    model = mt(family, fusion="add_relu")
    inputs = given(family)
    inputs.pop("decoder_input_ids", None)
    if family == "llama":
        side = batch(family, side="left")
        inputs |= {name: side[name] for name in ("input_ids", "attention_mask")}
    settings = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "num_beams": 2}
    cached = model.generate(**inputs, **settings)
    assert torch.equal(model.generate(**inputs, **settings, use_cache=False), cached)


def test_bf16_projection_follows_the_model() -> None:
    model = flare("xlmr", build("xlmr").bfloat16(), source="mt_encoder", source_width=WIDTH).train()
    projection = model.base_model.lora_source_projection["default"]
    assert projection.weight.dtype == torch.float32
    inputs = given("xlmr")
    inputs["source_states"] = inputs["source_states"].bfloat16()
    model(**inputs | labels_for("xlmr", inputs)).loss.backward()
    assert projection.weight.grad.isfinite().all()


def test_switching_adapters_switches_projections() -> None:
    model = mt("llama")
    from flare_ray.fusion import FlareConfig

    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    model.add_adapter("wide", FlareConfig(**settings, source="mt_encoder", source_width=20))
    model.set_adapter("wide")
    projections = model.base_model.lora_source_projection
    assert [p["default"].weight.requires_grad for p in [projections]] == [False]
    assert projections["wide"].weight.requires_grad
    inputs = given("llama")
    with pytest.raises(ValueError, match=r"wanted \[batch, tokens, 20\]"):
        model(**inputs)
    inputs["source_states"] = torch.randn(3, 11, 20)
    assert torch.isfinite(model(**inputs).logits).all()
    model.delete_adapter("wide")
    assert list(projections) == ["default"]


def test_wrong_sources_are_refused() -> None:
    model = mt("xlmr")
    inputs = batch()
    with pytest.raises(ValueError, match="wants source_states"):
        model(**inputs)
    with pytest.raises(ValueError, match="translation model's encoder"):
        model.base_model.encode_source(inputs["source_input_ids"])
