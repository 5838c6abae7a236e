"""What is saved is what comes back: adapter, head, w, b and settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flare_ray.mixup import MixupModel

from .conftest import batch, build, mixup, scores_of


@pytest.mark.parametrize("family", ["xlmr", "mt5_qa", "gemma2"])
def test_saved_and_loaded_is_the_same(family: str, tmp_path: Path) -> None:
    model, inputs = mixup(family, alpha=0.3), batch(family)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "mixup.json",
        "mixup.safetensors",
    }
    loaded = MixupModel.from_pretrained(build(family), tmp_path).eval()
    assert loaded.mixup_config == model.mixup_config
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with torch.no_grad():
        wanted, found = model(**inputs), loaded(**inputs)
    torch.testing.assert_close(found.loss, wanted.loss)
    torch.testing.assert_close(scores_of(found, inputs), scores_of(wanted, inputs))


def test_a_gathered_state_is_written_instead(tmp_path: Path) -> None:
    """As from DeepSpeed: the trained parameters alone, by their names, however the model has moved on since."""
    model, inputs = mixup("xlmr"), batch("xlmr")
    state = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        wanted = model(**inputs).logits
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.5)
    model.save_pretrained(tmp_path / "new", state_dict=state)
    loaded = MixupModel.from_pretrained(build("xlmr"), tmp_path / "new", is_trainable=True).eval()
    torch.testing.assert_close(loaded(**inputs).logits, wanted)
    trainable = {name for name, p in loaded.named_parameters() if p.requires_grad}
    assert trainable == set(state)
    del state["mixup.weight"]
    with pytest.raises(ValueError, match=r"lacks mixup\.weight"):
        model.save_pretrained(tmp_path / "bad", state_dict=state)


def test_a_model_without_adapters_is_written_whole(tmp_path: Path) -> None:
    from flare_ray.mixup import MixupConfig

    base = build("xlmr")
    model, inputs = MixupModel(base, MixupConfig(block=2)).eval(), batch("xlmr")
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "mixup.json").read_text())["block"] == 2
    again = type(base).from_pretrained(tmp_path).eval()
    loaded = MixupModel.from_pretrained(again, tmp_path)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)
