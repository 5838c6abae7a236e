"""4-bit and 8-bit bases mix, train and generate as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import batch, build, mixup

pytest.importorskip("bitsandbytes")


@pytest.mark.slow
@pytest.mark.parametrize(
    "bits", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}]
)
def test_gradients_after_an_evaluation(bits: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    build("llama", hidden_size=64, intermediate_size=128, head_dim=16).save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(**bits), dtype=torch.float32
    )
    model, inputs = mixup("llama", base), batch("llama")
    with torch.no_grad():
        before = model(**inputs).loss
    loss = model.train()(**inputs).loss
    torch.testing.assert_close(loss.detach(), before, rtol=0.02, atol=0.02)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    out = model.generate(**batch("llama", labelled=False), max_new_tokens=2)
    assert out.shape == (3, 11)
