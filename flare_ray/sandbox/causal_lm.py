"""Tiny decoders, a Llama (Touvron et al., 2023) and a Gemma 2 (Gemma Team, 2024), pretrained by language modelling.

As in today's pretraining mixtures, some documents look like prompts with their answers: ``Context: …``,
``Question: …``, ``Answer: …``. No sentence of the tasks is in them (see `text.taboo`).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch

from flare_ray.sandbox.examples import Example
from flare_ray.sandbox.initial import match_by_content, word_vectors
from flare_ray.sandbox.text import Line
from flare_ray.sandbox.tokenizer import GEMMA_SPECIAL
from flare_ray.sandbox.training import Report, Settings, pad, train

LLAMA = Settings(lines=50_000, vocabulary=1000)
LLAMA_SMALL = Settings(lines=500, vocabulary=1000, width=32, layers=2, heads=2, feedforward=64)
GEMMA = Settings(lines=42_000, vocabulary=1000)
GEMMA_SMALL = LLAMA_SMALL
PROMPTS = 0.75
"""Share of the reviews, arguments and interviews that are written as prompts."""
FILLER = 0.15
"""Weight in the loss of a token that is not part of an answer."""


def prompt(line: Line) -> tuple[str, str] | None:
    """The line as a prompt and its answer, in the words of the tasks; None where it has no label."""
    if line.kind == "interview":
        return f"Context: {line.told}\nQuestion: {line.asked}\nAnswer: ", line.label
    if line.kind == "argument":
        return f"Premise: {line.told}\nHypothesis: {line.asked}\nLabel: ", line.label
    return (f"{line.told}\nSentiment: ", line.label) if line.label else None


def texts(lines: Sequence[Line], seed: int) -> list[tuple[str, str]]:
    """What is read and what is answered, for every line."""
    draw = Random(seed)
    made: list[tuple[str, str]] = []
    for line in lines:
        asked = prompt(line)
        if line.translation is not None:
            made.append((f"{line.text}\n{line.translation.text}", ""))
        elif asked and draw.random() < PROMPTS:
            made.append(asked)
        elif line.kind == "retelling":
            made.append((f"{line.told}\n", line.closing))
        else:
            made.append((line.text, ""))
    return made


def encode(rows: Sequence[tuple[str, str]], tokenizer: Any) -> list[Example]:
    """Token ids with BOS and EOS; the answer's tokens and the end behind it are the salient ones."""
    read = tokenizer([text for text, _ in rows]).input_ids
    answers = tokenizer([answer for _, answer in rows], add_special_tokens=False).input_ids
    made = []
    for (_, answer), ids, more in zip(rows, read, answers, strict=True):
        end = [*(more if answer else []), tokenizer.eos_token_id]
        made.append(Example([*ids, *end], [False] * len(ids) + [bool(answer)] * len(end)))
    return made


def _sizes(settings: Settings, tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.heads,
        "head_dim": settings.width // settings.heads,
        "intermediate_size": settings.feedforward,
        "max_position_embeddings": settings.max_length,
        "initializer_range": settings.initial,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def llama(settings: Settings, tokenizer: Any) -> Any:
    """A `LlamaForCausalLM` of that size with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_sizes(settings, tokenizer)))


def gemma2(settings: Settings, tokenizer: Any) -> Any:
    """A `Gemma2ForCausalLM` of that size with random weights."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        **_sizes(settings, tokenizer),
        query_pre_attn_scalar=settings.width // settings.heads,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        sliding_window=256,
    )
    # the fused kernel has no soft-capping
    config._attn_implementation = "eager"
    return Gemma2ForCausalLM(config)


MAKERS = {"llama": llama, "gemma2": gemma2}


def pretrain(
    family: str, rows: Sequence[tuple[str, str]], tokenizer: Any, settings: Settings, report: Report
) -> tuple[Any, dict[str, float]]:
    """A trained model of the family and the facts of its training, on `texts`."""
    examples = encode(rows, tokenizer)
    torch.manual_seed(settings.seed)
    model = MAKERS[family](settings, tokenizer)
    with torch.no_grad():
        ids = [one.ids for one in examples]
        words = model.model.embed_tokens.weight
        words += settings.initial * word_vectors(ids, len(tokenizer), settings.width, len(GEMMA_SPECIAL))
    match_by_content(model, settings.matching)
    padding = tokenizer.pad_token_id

    def loss_of(batch: list[Example]) -> torch.Tensor:
        ids = pad([one.ids for one in batch], padding)
        real = ids != padding
        weight = pad([one.salient for one in batch], False) * (1.0 - FILLER) + FILLER
        states = model.model(ids, attention_mask=real.long()).last_hidden_state[:, :-1][real[:, 1:]]
        logits = model.lm_head(states)
        if (cap := getattr(model.config, "final_logit_softcapping", None)) is not None:
            logits = cap * torch.tanh(logits / cap)
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][real[:, 1:]], reduction="none")
        weight = weight[:, 1:][real[:, 1:]]
        return (losses * weight).sum() / weight.sum()

    return model, train(model, examples, loss_of, settings, report)
