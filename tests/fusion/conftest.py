"""Tiny real models with random weights, batches with unequal lengths, and adapters whose B is not zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
)

from flare_ray.fusion import FlareConfig

torch.set_num_threads(1)

PAD, VOCAB, WIDTH, LAYERS = 1, 60, 32, 3
ENCODER = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "num_labels": 3,
}


def build(family: str, **settings: Any) -> torch.nn.Module:
    """A tiny model of a family, its weights drawn from a fixed seed and large enough for differences to show."""
    torch.manual_seed(7)
    if family == "xlmr":
        model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**ENCODER | settings))
    elif family == "xlmr_qa":
        model = XLMRobertaForQuestionAnswering(XLMRobertaConfig(**ENCODER | {"num_labels": 2} | settings))
    elif family == "bert":
        model = BertForSequenceClassification(BertConfig(**ENCODER | settings))
    else:
        raise ValueError(family)
    return spread_weights(model)


def spread_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Scale up the weight matrices: at their usual start (0.02) nothing a layer does would be seen above noise."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter.mul_(5)
    return model.eval()


FAMILIES = ["xlmr", "xlmr_qa", "bert"]
TARGETS = {"xlmr": ["query", "value"], "xlmr_qa": ["query", "value"], "bert": ["query", "value"]}
TASKS = {"xlmr": "SEQ_CLS", "xlmr_qa": "QUESTION_ANS", "bert": "SEQ_CLS"}


def flare(family: str, base: torch.nn.Module | None = None, **settings: Any) -> Any:
    """A FLARE model whose adapters already do something: B is drawn, not zero."""
    config = FlareConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": TARGETS[family], "task_type": TASKS[family]} | settings
    )
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
    lengths: list[int], seed: int, width: int | None = None, side: str = "right"
) -> tuple[Tensor, Tensor]:
    """Token ids and mask of sentences of given lengths, padded to `width` on a side."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    ids = torch.full((len(lengths), width), PAD)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens = torch.randint(5, VOCAB, (length,), generator=generator)
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place], mask[row, place] = tokens, 1
    return ids, mask


def batch(target: list[int] = [9, 5, 7], source: list[int] = [6, 8, 4], **where: Any) -> dict[str, Any]:  # noqa: B006
    """A batch of targets and sources; `where` as in `text`, with source_width and source_side for the source."""
    ids, mask = text(target, 1, where.get("width"), where.get("side", "right"))
    source_ids, source_mask = text(source, 2, where.get("source_width"), where.get("source_side", "right"))
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "source_input_ids": source_ids,
        "source_attention_mask": source_mask,
    }


def last_block_states(base: Any, family: str, inputs: dict[str, Any]) -> dict[bool, list[Tensor]]:
    """The base's own hidden states on the source: the embeddings, then every block's output, by stack.

    The last block's output is recorded by a hook, as `hidden_states[-1]` stands behind the final norm in most
    decoders.
    """
    ids, mask = inputs["source_input_ids"], inputs["source_attention_mask"]
    with torch.no_grad():
        states = base(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return {False: list(states)}


def shift_for_decoder(
    family: str, decoder: bool, inputs: dict[str, Any], row: int
) -> tuple[Tensor, Tensor, int]:
    """Real tokens of target and source of a row, and how many of the source's may fuse."""
    return inputs["attention_mask"][row], inputs["source_attention_mask"][row], 10**6


@pytest.fixture
def inputs() -> dict[str, Any]:
    return batch()


def real_logits(model: Any, inputs: dict[str, Any], flat: bool = True) -> Any:
    """Logits of sentences, or of their real tokens where a model gives them by token; no gradients."""
    with torch.no_grad():
        output = model(**inputs)
    logits = (
        torch.stack([output.start_logits, output.end_logits], -1)
        if "start_logits" in output
        else output.logits
    )
    if logits.dim() == 3:
        rows = [row[mask.bool()] for row, mask in zip(logits, inputs["attention_mask"], strict=True)]
    else:
        rows = list(logits)
    return torch.cat([row.reshape(-1) for row in rows]) if flat else rows


def labels_for(family: str, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Labels of the family's task, by the name its model takes them under."""
    classes = torch.arange(len(inputs["input_ids"])) % 3
    if family == "xlmr_qa":
        return {"start_positions": classes, "end_positions": classes + 1}
    return {"labels": classes}
