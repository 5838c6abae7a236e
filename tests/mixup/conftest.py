"""Tiny real models with random weights, LoRA adapters whose B is not zero, and texts of unequal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch import Tensor

from flare_ray.mixup import MixupConfig, MixupModel

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
GEMMA = DECODER | {
    "sliding_window": 6,
    "query_pre_attn_scalar": 16,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 5.0,
}
MT5 = SPECIAL | {
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": LAYERS,
    "num_decoder_layers": LAYERS,
    "num_heads": 4,
    "decoder_start_token_id": PAD,
}
BERT_TARGETS, T5_TARGETS = ["query", "value"], ["q", "v"]
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]
GENERATION = {"form": "generation", "task": "classification"}


@dataclass(frozen=True)
class Family:
    model: type
    config: type
    settings: dict[str, Any]
    targets: list[str]
    mixup: dict[str, Any]
    head: list[str]


FAMILY = {
    "xlmr": Family(
        hf.XLMRobertaForSequenceClassification, hf.XLMRobertaConfig, ENCODER, BERT_TARGETS, {}, ["classifier"]
    ),
    "bert": Family(
        hf.BertForSequenceClassification, hf.BertConfig, ENCODER, BERT_TARGETS, {}, ["pooler", "classifier"]
    ),
    "mt5": Family(
        hf.MT5ForSequenceClassification, hf.MT5Config, MT5, T5_TARGETS, {}, ["classification_head"]
    ),
    "llama_cls": Family(
        hf.LlamaForSequenceClassification, hf.LlamaConfig, DECODER, LLAMA_TARGETS, {}, ["score"]
    ),
    "xlmr_qa": Family(
        hf.XLMRobertaForQuestionAnswering,
        hf.XLMRobertaConfig,
        ENCODER | {"num_labels": 2},
        BERT_TARGETS,
        {"form": "span"},
        ["qa_outputs"],
    ),
    "mt5_qa": Family(
        hf.MT5ForQuestionAnswering,
        hf.MT5Config,
        MT5 | {"num_labels": 2},
        T5_TARGETS,
        {"form": "span"},
        ["qa_outputs"],
    ),
    "llama": Family(hf.LlamaForCausalLM, hf.LlamaConfig, DECODER, LLAMA_TARGETS, GENERATION, []),
    "gemma2": Family(hf.Gemma2ForCausalLM, hf.Gemma2Config, GEMMA, LLAMA_TARGETS, GENERATION, []),
    "qwen3": Family(hf.Qwen3ForCausalLM, hf.Qwen3Config, DECODER, LLAMA_TARGETS, GENERATION, []),
}
FAMILIES = list(FAMILY)
GENERATIVE = ["llama", "gemma2", "qwen3"]
WHOLE = [name for name in FAMILIES if name not in GENERATIVE]


def build(family: str, **settings: Any) -> Any:
    """A tiny model whose weights are large enough for differences to show."""
    torch.manual_seed(7)
    kind = FAMILY[family]
    model = kind.model(kind.config(**kind.settings | settings))
    if "mt5" not in family:  # which starts with large weights of its own
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 2 and "embed" not in name:
                    parameter.mul_(5)
    return model.eval()


def adapted(family: str, base: Any = None, dropout: float = 0.0) -> Any:
    kind = FAMILY[family]
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=kind.targets,
        modules_to_save=kind.head or None,
        lora_dropout=dropout,
        task_type="CAUSAL_LM" if family in GENERATIVE else None,
    )
    return draw(get_peft_model(base if base is not None else build(family), config))


def draw(model: Any, seed: int = 11) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def mixup(family: str, base: Any = None, w: float = 0.6, b: float = -0.9, **settings: Any) -> MixupModel:
    """A model that mixes in block 1 (unless told), with adapters that do something and λ away from its bounds."""
    config = MixupConfig(**FAMILY[family].mixup | {"block": 1} | settings)
    model = MixupModel(adapted(family, base), config)
    with torch.no_grad():
        model.mixup.weight.fill_(w)
        model.mixup.bias.fill_(b)
    return model.eval()


def text(lengths: Sequence[int], seed: int, side: str = "right", width: int = 0) -> dict[str, Tensor]:
    """Ids and mask of sentences, each of the same tokens wherever they stand."""
    width = max(width, *lengths)
    ids = torch.full((len(lengths), width), PAD)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(100 * seed + row)
        tokens = torch.randint(5, VOCAB, (length,), generator=generator)
        tokens[-1] = EOS
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place], mask[row, place] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask}


def labels_for(family: str, side: dict[str, Tensor], answer: int = 3) -> dict[str, Tensor]:
    """Labels by the names the family's task has: of a generating model, for the last `answer` tokens."""
    ids, mask = side["input_ids"], side["attention_mask"].bool()
    if family in GENERATIVE:
        behind = mask & (mask.flip(1).long().cumsum(1).flip(1) <= answer)
        return {"labels": ids.masked_fill(~behind, -100)}
    first = mask.long().argmax(1)
    if family.endswith("_qa"):
        return {"start_positions": first + 1, "end_positions": first + 2}
    return {"labels": torch.arange(len(ids)) % 3}


def batch(
    family: str,
    labelled: bool = True,
    target: Sequence[int] = (9, 6, 7),
    source: Sequence[int] = (6, 8, 5),
    seeds: tuple[int, int] = (1, 2),
    **where: Any,
) -> dict[str, Any]:
    """A call's arguments; `where` as in `text`, with source_side and source_width for the source."""
    ours = text(target, seeds[0], where.get("side", "right"), where.get("width", 0))
    theirs = text(source, seeds[1], where.get("source_side", "right"), where.get("source_width", 0))
    if labelled:
        ours |= labels_for(family, ours)
        theirs |= labels_for(family, theirs, answer=2)
    return {**ours, "source": theirs}


def scores_of(output: Any, inputs: dict[str, Any]) -> list[Tensor]:
    """What a call says of each row's real tokens, or of the row."""
    if output.logits is not None and output.logits.dim() == 2:
        return list(output.logits)
    values = output.logits
    if values is None:
        values = torch.stack([output.start_logits, output.end_logits], -1)
    return [row[mask.bool()] for row, mask in zip(values, inputs["attention_mask"], strict=True)]
