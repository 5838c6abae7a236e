"""Which block mixes, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

from flare_ray.mixup import MixupConfig, MixupModel

from .conftest import DECODER, ENCODER, MT5, SPECIAL, build, mixup


@pytest.mark.parametrize(
    ("form", "task", "depth", "wanted"),
    [
        ("classification", None, 24, 0),
        ("span", None, 24, 15),
        ("span", None, 12, 8),
        ("span", None, 3, 2),
        ("span", None, 1, 0),
        ("generation", "classification", 32, 0),
        ("generation", "qa", 32, 20),
    ],
)
def test_the_papers_block(form: Any, task: Any, depth: int, wanted: int) -> None:
    assert MixupConfig(form=form, task=task).block_of(depth) == wanted


def test_a_set_block() -> None:
    model = mixup("xlmr", block=2)
    assert model.place.number == 2
    assert model.place.block is model.base.roberta.encoder.layer[2]
    with pytest.raises(ValueError, match="block=3, but the model's last block is 2"):
        MixupModel(build("xlmr"), MixupConfig(block=3))


def test_an_encoder_decoder_mixes_in_its_encoder() -> None:
    for family, path in (("mt5", "transformer.encoder.block.1"), ("mt5_qa", "encoder.block.1")):
        model = mixup(family)
        assert model.place.block is model.base.get_submodule(path)


def test_settings_are_refused_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)alpha: wanted 0 to 1, got 2.*block: .* got -1"):
        MixupConfig(alpha=2, block=-1)
    with pytest.raises(ValueError, match="form='generation' wants"):
        MixupConfig(form="generation")
    with pytest.raises(ValueError, match="task: got 'qa'"):
        MixupConfig(form="classification", task="qa")
    with pytest.raises(ValueError, match="QA has no KL"):
        MixupConfig(form="span", kl_weight=1.0)
    with pytest.raises(ValueError, match="form: got"):
        MixupConfig(form="tagging")  # type: ignore[arg-type]
    assert MixupConfig(form="span").resolved().kl_weight == 0


def spread(model: Any) -> Any:
    """Weights so large that attention is far from even."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(20)
    return model


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "names": (
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**SPECIAL, n_embd=32, n_layer=2, n_head=4)),
        {"form": "generation", "task": "qa"},
        "GPT2LMHeadModel: X-Mixup wants one self-attention in each numbered block",
    ),
    "rotary inside": (
        lambda: hf.EsmForSequenceClassification(
            hf.EsmConfig(**ENCODER, position_embedding_type="rotary", mask_token_id=4)
        ),
        {},
        "does not know the attention of EsmSelfAttention",
    ),
    "norm over heads": (
        lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**ENCODER)),
        {"form": "generation", "task": "qa"},
        "q_norm over all heads",
    ),
    "no rotation in some blocks": (
        lambda: spread(
            hf.Cohere2ForCausalLM(hf.Cohere2Config(**DECODER, layer_types=["full_attention"] * 3))
        ),
        {"form": "generation", "task": "qa"},
        "Cohere2Attention .*gives another result",
    ),
    "encoder that generates": (
        lambda: build("xlmr"),
        {"form": "generation", "task": "qa"},
        "wants a decoder-only model",
    ),
    "mT5 that generates": (
        lambda: hf.MT5ForConditionalGeneration(hf.MT5Config(**MT5)),
        {},
        "MT5ForConditionalGeneration generates",
    ),
    "spans of a causal model": (
        lambda: hf.LlamaForQuestionAnswering(hf.LlamaConfig(**DECODER)),
        {"form": "span"},
        "cannot look ahead",
    ),
    "regression": (
        lambda: build("xlmr", num_labels=1),
        {},
        "wants two labels or more",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_are_refused(name: str) -> None:
    make, settings, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        MixupModel(make(), MixupConfig(**settings))


def test_import_is_light() -> None:
    import subprocess
    import sys

    code = "import sys, flare_ray.mixup as m; m.MixupConfig(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
