"""Tiny real models with random weights, batches with unequal lengths, and adapters whose B is not zero."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MT5Config,
    MT5ForConditionalGeneration,
    MT5ForSequenceClassification,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    XLMRobertaConfig,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
)

from flare_ray.fusion import FlareConfig

torch.set_num_threads(1)

PAD, EOS, VOCAB, WIDTH, LAYERS = 1, 2, 60, 32, 3
SPECIAL = {"vocab_size": VOCAB, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": 0, "num_labels": 3}
ENCODER = SPECIAL | {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
DECODER = ENCODER | {"num_key_value_heads": 2, "head_dim": 8}
MT5 = SPECIAL | {
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": LAYERS,
    "num_decoder_layers": LAYERS,
    "num_heads": 4,
    "decoder_start_token_id": PAD,
}
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Family:
    """How to build a family's tiny model, and where its adapters go."""

    model: type
    config: type
    settings: dict[str, Any]
    task: str | None
    targets: list[str]
    kind: str = "encoder"
    adapters: dict[str, Any] = field(default_factory=dict)


FAMILY = {
    "xlmr": Family(
        XLMRobertaForSequenceClassification, XLMRobertaConfig, ENCODER, "SEQ_CLS", ["query", "value"]
    ),
    "xlmr_qa": Family(
        XLMRobertaForQuestionAnswering,
        XLMRobertaConfig,
        ENCODER | {"num_labels": 2},
        "QUESTION_ANS",
        ["query", "value"],
    ),
    "bert": Family(BertForSequenceClassification, BertConfig, ENCODER, "SEQ_CLS", ["query", "value"]),
    "mt5": Family(MT5ForConditionalGeneration, MT5Config, MT5, "SEQ_2_SEQ_LM", ["q", "v"], "encoder-decoder"),
    "mt5_cls": Family(
        MT5ForSequenceClassification,
        MT5Config,
        MT5,
        "SEQ_CLS",
        ["q", "v"],
        "encoder-decoder",
        {"modules_to_save": ["classification_head"]},
    ),
    "llama": Family(LlamaForCausalLM, LlamaConfig, DECODER, "CAUSAL_LM", ALL_LINEAR, "decoder"),
    "llama_cls": Family(
        LlamaForSequenceClassification, LlamaConfig, DECODER, "SEQ_CLS", ALL_LINEAR, "decoder"
    ),
    "gemma2": Family(
        Gemma2ForCausalLM,
        Gemma2Config,
        DECODER | {"sliding_window": 6, "query_pre_attn_scalar": 8},
        "CAUSAL_LM",
        ALL_LINEAR,
        "decoder",
    ),
    "qwen2": Family(Qwen2ForCausalLM, Qwen2Config, DECODER, "CAUSAL_LM", ["q_proj", "v_proj"], "decoder"),
    "qwen3": Family(Qwen3ForCausalLM, Qwen3Config, DECODER, "CAUSAL_LM", ["q_proj", "v_proj"], "decoder"),
    "gpt2": Family(
        GPT2LMHeadModel,
        GPT2Config,
        SPECIAL | {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 64},
        "CAUSAL_LM",
        ["c_attn"],
        "decoder",
        {"fusion_modules": ["c_attn"], "fan_in_fan_out": True},
    ),
}
SECOND = {"bert", "llama_cls", "qwen2", "qwen3", "gpt2"}
"""Families whose matrices run in `make test-all` alone: each shares its way through the code with another."""


def families(names: Iterable[str]) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`, the second ones marked slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SECOND else name for name in names]


FAMILIES = families(FAMILY)
CAUSAL_LM = [name for name, family in FAMILY.items() if family.task == "CAUSAL_LM"]
# Where the base itself minds padding on the left: BERT and GPT-2 count it as positions, these heads read column 0.
RIGHT_ONLY = {"bert", "gpt2", "xlmr"}


def build(family: str, **settings: Any) -> torch.nn.Module:
    """A tiny model of a family, its weights drawn from a fixed seed and large enough for differences to show."""
    torch.manual_seed(7)
    kind = FAMILY[family]
    model = kind.model(kind.config(**kind.settings | settings))
    return (
        model.eval() if "mt5" in family else spread_weights(model)
    )  # mT5 starts with large weights of its own


def spread_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Scale up the weight matrices: at their usual start (0.02) nothing a layer does would be seen above noise."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter.mul_(5)
    return model.eval()


def flare(family: str, base: torch.nn.Module | None = None, **settings: Any) -> Any:
    """A FLARE model whose adapters already do something: B is drawn, not zero."""
    kind = FAMILY[family]
    usual = {"r": 4, "lora_alpha": 8, "target_modules": kind.targets, "task_type": kind.task}
    config = FlareConfig(**usual | kind.adapters | settings)
    model = get_peft_model(base if base is not None else build(family), config)
    return draw_adapters(model).eval()


def draw_adapters(model: Any, seed: int = 11) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def text(
    lengths: Sequence[int], seed: int, width: int | None = None, side: str = "right"
) -> tuple[Tensor, Tensor]:
    """Token ids and mask of sentences of given lengths, padded to `width` on a side."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    ids = torch.full((len(lengths), width), PAD)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens = torch.randint(5, VOCAB, (length,), generator=generator)
        tokens[-1] = EOS
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place], mask[row, place] = tokens, 1
    return ids, mask


def batch(
    family: str = "xlmr",
    target: tuple[int, ...] = (9, 5, 7),
    source: tuple[int, ...] = (6, 8, 4),
    **where: Any,
) -> dict[str, Any]:
    """Targets and sources; `where` as in `text`, with source_width and source_side for the source."""
    ids, mask = text(target, 1, where.get("width"), where.get("side", "right"))
    source_ids, source_mask = text(source, 2, where.get("source_width"), where.get("source_side", "right"))
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "source_input_ids": source_ids,
        "source_attention_mask": source_mask,
    }
    if family == "mt5":
        answer = text((4,) * len(target), 3)[0]
        inputs["decoder_input_ids"] = torch.cat([torch.full_like(answer[:, :1], PAD), answer], 1)
    return inputs


def labels_for(family: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Labels of the family's task, by the name its model takes them under."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    classes = torch.arange(len(ids)) % 3
    if family == "xlmr_qa":
        return {"start_positions": classes, "end_positions": classes + 1}
    if family == "mt5":
        return {"labels": inputs["decoder_input_ids"][:, 1:].clone(), "decoder_input_ids": None}
    if family in CAUSAL_LM:
        answer = mask.bool() & (mask.flip(1).cumsum(1).flip(1) <= 3)  # the last three real tokens
        return {"labels": ids.masked_fill(~answer, -100)}
    return {"labels": classes}


def real_logits(model: Any, inputs: dict[str, Any], flat: bool = True) -> Any:
    """Logits of sentences, or of their real tokens where a model gives them by token; no gradients."""
    with torch.no_grad():
        output = model(**inputs)
    logits = (
        torch.stack([output.start_logits, output.end_logits], -1)
        if "start_logits" in output
        else output.logits
    )
    if logits.dim() == 3 and inputs.get("decoder_input_ids") is None:
        rows = [row[mask.bool()] for row, mask in zip(logits, inputs["attention_mask"], strict=True)]
    else:
        rows = list(logits)
    return torch.cat([row.reshape(-1) for row in rows]) if flat else rows
