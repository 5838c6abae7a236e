"""4-bit and 8-bit bases, and bf16: the same laws, by the same fused layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig

from .conftest import batch, build, draw_adapters, flare, labels_for, real_logits

pytest.importorskip("bitsandbytes")

WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # NF4 quantises blocks of 64 weights
AUTO = {"xlmr": AutoModelForSequenceClassification, "llama": AutoModelForCausalLM}
KINDS = ["nf4", "int8"]
HEADS = ["classifier", "lm_head"]  # a head that trains cannot be quantised


@pytest.fixture(scope="module", params=["xlmr", "llama"])
def saved(request: Any, tmp_path_factory: Any) -> tuple[str, Path]:
    """A family and its base on disk, from which bitsandbytes loads."""
    path = tmp_path_factory.mktemp(request.param)
    build(request.param, **WIDE).save_pretrained(path)
    return request.param, path


def quantised(family: str, path: Path, kind: str) -> Any:
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=HEADS,
        )
        if kind == "nf4"
        else BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=HEADS)
    )
    return AUTO[family].from_pretrained(path, quantization_config=config, dtype=torch.float32).eval()


@pytest.mark.parametrize("fusion", ["add", "mul", "add_relu", "mul_relu", "cross_attention"])
@pytest.mark.parametrize("kind", KINDS)
def test_laws_hold_on_a_quantised_base(
    saved: tuple[str, Path], kind: str, fusion: str, tmp_path: Path
) -> None:
    family, path = saved
    model = flare(family, quantised(family, path, kind), fusion=fusion)
    inputs = batch(family)
    wanted = real_logits(model, inputs)
    tolerance = {"atol": 1e-4 if kind == "nf4" else 0.05, "rtol": 1e-3}  # int8 rounds activations by batch
    padded = real_logits(model, batch(family, width=12, source_width=11, source_side="left"))
    torch.testing.assert_close(padded, wanted, **tolerance)

    states = model.base_model.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
    given = {name: value for name, value in inputs.items() if name != "source_input_ids"}
    torch.testing.assert_close(real_logits(model, given | {"source_states": states}), wanted, **tolerance)

    model.save_pretrained(tmp_path)
    for trainable, exact in (
        (True, True),
        (False, kind == "int8"),
    ):  # for inference, some CPUs compute in bf16
        loaded = PeftModel.from_pretrained(
            quantised(family, path, kind), tmp_path, adapter_name="other", is_trainable=trainable
        ).eval()
        difference = (real_logits(loaded, inputs) - wanted).abs() / wanted.abs().max()
        assert difference.max() < 1e-6 if exact else difference.mean() < 0.05
    onto_dense = PeftModel.from_pretrained(build(family, **WIDE), tmp_path)
    assert torch.isfinite(real_logits(onto_dense, inputs)).all()


@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_on_a_quantised_base(saved: tuple[str, Path], kind: str, fusion: str) -> None:
    family, path = saved
    model = flare(family, quantised(family, path, kind), fusion=fusion).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    inputs = batch(family)
    model(**inputs | labels_for(family, inputs)).loss.backward()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "lora_" in name or "modules_to_save" in name}


def test_zero_source_with_add_is_lora_on_4_bit(saved: tuple[str, Path]) -> None:
    family, path = saved
    model = flare(family, quantised(family, path, "nf4"), fusion="add")
    inputs = batch(family)
    states = model.base_model.encode_source(inputs.pop("source_input_ids"), inputs["source_attention_mask"])
    fused = real_logits(model, inputs | {"source_states": torch.zeros_like(states)})
    for key in model.base_model.sites["default"]:
        model.base_model.model.get_submodule(key).lora_variant.clear()
    lora = real_logits(model, inputs | {"source_states": states})
    torch.testing.assert_close(fused, lora, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_on_4_bit(saved: tuple[str, Path], reentrant: bool) -> None:
    family, path = saved
    model = flare(family, quantised(family, path, "nf4"), fusion="add_relu").train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs = batch(family)
    found = []
    for _ in range(2):
        model.zero_grad()
        model(**inputs | labels_for(family, inputs)).loss.backward()
        found.append(
            {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
        )
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("family", ["xlmr", "llama", "mt5"])
def test_bf16_keeps_states_in_bf16_and_once(family: str) -> None:
    """Adapters are fp32 beside a bf16 base, and yet autograd holds no fp32 copy of the states for each layer."""
    model = flare(family, build(family).to(torch.bfloat16), fusion="add_relu").train()
    assert {value.dtype for name, value in model.named_parameters() if "lora_" in name} == {torch.float32}
    inputs = batch(family, source=(23, 23, 23))
    encoded = model.base_model.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
    states = encoded if isinstance(encoded, torch.Tensor) else encoded[0]
    assert states.dtype == torch.bfloat16
    held: dict[int, torch.dtype] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() >= 2 and 23 in (tensor.shape[-2], tensor.shape[-2] // 3) and tensor.shape[-1] == 32:
            held[tensor.data_ptr()] = tensor.dtype
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**inputs | labels_for(family, inputs)).loss
    assert torch.float32 not in held.values()
    loss.backward()
    trained = [p.grad for name, p in model.named_parameters() if "lora_A" in name and p.grad is not None]
    assert trained
    assert all(torch.isfinite(grad).all() and grad.dtype == torch.float32 for grad in trained)


def test_a_source_pass_leaves_4_bit_weights_differentiable(saved: tuple[str, Path]) -> None:
    """bitsandbytes repacks weights at a call in evaluation mode, and then no gradient passes (on some CPUs)."""
    family, path = saved
    inputs = batch(family)
    found = []
    for passes in (0, 2):
        model = flare(family, quantised(family, path, "nf4")).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for _ in range(passes):
            model.base_model.encode_source(inputs["source_input_ids"], inputs["source_attention_mask"])
            real_logits(model.eval(), inputs)
            model.train()
        model(**inputs | labels_for(family, inputs)).loss.backward()
        found.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-4)
    first = next(gradient for name, gradient in found[0].items() if "layer.0" in name or "layers.0" in name)
    assert first.abs().max() > 0


def test_a_repacked_base_is_refused_for_training(saved: tuple[str, Path]) -> None:
    family, path = saved
    base = quantised(family, path, "nf4")
    inputs = batch(family)
    with torch.no_grad():
        base(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    layer = next(module for module in base.modules() if hasattr(module, "support_avx512bf16_for_cpu"))
    if not layer.support_avx512bf16_for_cpu:
        pytest.skip("this CPU has no AVX512-BF16, so nothing is repacked")
    with pytest.raises(ValueError, match="load the base anew"):
        flare(family, base)


def test_half_precision_copies_change_no_gradient() -> None:
    """The states cast again in backward give the gradients that a kept fp32 copy gives."""
    from flare_ray.fusion.variant import down

    states = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    layer = torch.nn.Linear(32, 4, bias=False)
    weights = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    (down(layer, torch.nn.Identity(), states) * weights).sum().backward()
    found, layer.weight.grad = layer.weight.grad, None
    (layer(states.float()) * weights).sum().backward()
    assert torch.equal(found, layer.weight.grad)


def test_quantised_test_base_is_really_quantised(saved: tuple[str, Path]) -> None:
    family, path = saved
    model: Any = flare(family, quantised(family, path, "nf4"))
    key = next(iter(model.base_model.sites["default"]))
    assert type(model.base_model.model.get_submodule(key)).__name__ == "Linear4bit"
    assert draw_adapters(model) is model
