"""Adapters saved and loaded: under another name, beside others, with their fusion weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from .conftest import FAMILIES, batch, build, flare, real_logits


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_save_and_load_under_another_name(family: str, fusion: str, low_memory: bool, tmp_path: Path) -> None:
    model = flare(family, fusion=fusion, cross_attention_bias=True)
    wanted = real_logits(model, batch(family))
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert not any("default" in name for name in saved)
    loaded = PeftModel.from_pretrained(
        build(family), tmp_path, adapter_name="other", low_cpu_mem_usage=low_memory
    )
    assert torch.equal(real_logits(loaded, batch(family)), wanted)
    assert not any(value.requires_grad for value in loaded.parameters())
    real_logits(loaded, batch(family))
    assert not any(value.requires_grad for value in loaded.parameters())


def test_load_to_go_on_training(tmp_path: Path) -> None:
    flare("xlmr", fusion="cross_attention").save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(build("xlmr"), tmp_path, is_trainable=True)
    trains = {name for name, value in loaded.named_parameters() if value.requires_grad}
    assert trains == {
        name for name, _ in loaded.named_parameters() if "lora_" in name or "modules_to_save" in name
    }


def test_several_adapters_take_turns(tmp_path: Path) -> None:
    first, second = flare("xlmr", fusion="add"), flare("xlmr", fusion="cross_attention", fusion_layers=[1])
    wanted = [real_logits(model, batch()) for model in (first, second)]
    for name, model in (("first", first), ("second", second)):
        model.save_pretrained(tmp_path / name)
    both = PeftModel.from_pretrained(build("xlmr"), tmp_path / "first", adapter_name="first")
    both.load_adapter(tmp_path / "second", adapter_name="second")
    for name, logits in zip(("first", "second", "first"), [*wanted, wanted[0]], strict=True):
        both.set_adapter(name)
        assert torch.equal(real_logits(both, batch()), logits)
    both.delete_adapter("first")
    both.set_adapter("second")
    assert torch.equal(real_logits(both, batch()), wanted[1])
