"""What trains and what stays: gradients, the frozen base, dropout, and the source pass in training."""

from __future__ import annotations

import pytest
import torch

from .conftest import FAMILIES, batch, build, flare, labels_for


@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapters_and_head_train_and_the_base_stays(family: str, fusion: str) -> None:
    model = flare(family, fusion=fusion).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(2):
        inputs = batch(family)
        model(**inputs | labels_for(family, inputs)).loss.backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    meant = {name for name in before if "lora_" in name or "modules_to_save" in name}
    assert changed == meant
    assert {name for name, value in model.named_parameters() if value.grad is not None} == meant
    if fusion == "cross_attention":
        assert any(name.endswith("lora_fusion.default.query") for name in changed)


@pytest.mark.parametrize("family", FAMILIES)
def test_source_pass_is_the_base_in_evaluation_mode(family: str) -> None:
    """Dropout and adapters are off in the source pass, and module modes come back as they were."""
    base = build(family, **({"dropout_rate": 0.5} if "mt5" in family else {}))
    for module in base.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model = flare(family, base).train()
    tuner = model.base_model
    odd = next(
        module for module in tuner.model.modules() if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear)
    )
    odd.eval()
    modes = [module.training for module in model.modules()]
    trains = [value.requires_grad for value in model.parameters()]
    inputs = batch(family)
    first = tuner.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
    model(**inputs)
    assert [module.training for module in model.modules()] == modes
    assert [value.requires_grad for value in model.parameters()] == trains
    model.eval()
    with model.disable_adapter():
        second = tuner.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad


def test_source_dropout_drops_whole_instances_in_training_only() -> None:
    model = flare("xlmr", source_dropout=0.5)
    inputs = batch(target=(6,) * 8, source=(6,) * 8)
    whole = model(**inputs).logits
    target = {name: value for name, value in inputs.items() if not name.startswith("source")}
    alone = model(**target, without_source=True).logits
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.manual_seed(0)
    trained = model.train()(**inputs).logits
    is_whole = torch.isclose(trained, whole, atol=1e-5).all(1)
    is_alone = torch.isclose(trained, alone, atol=1e-5).all(1)
    assert (is_whole ^ is_alone).all()
    assert 0 < int(is_alone.sum()) < 8
    assert torch.equal(model.eval()(**inputs).logits, whole)
