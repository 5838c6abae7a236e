"""A tiny XLM-RoBERTa, pretrained by masked language modelling (Devlin et al., 2019; Conneau et al., 2020).

Plain PyTorch. Parallel lines go in as pairs, so that a word may be filled in from its translation (TLM,
Conneau and Lample, 2019): with the words that languages share, that makes the space multilingual.

Results are the same bit for bit on the same machine: one thread, one generator, a fixed order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean as mean
from typing import Any

import torch

from flare_ray.sandbox.embeddings import sinusoids, word_vectors
from flare_ray.sandbox.text import Line
from flare_ray.sandbox.tokenizer import SPECIAL as SPECIAL_TOKENS

SPECIAL = len(SPECIAL_TOKENS)
"""Ids below this are special tokens."""


@dataclass(frozen=True)
class Settings:
    """Size of a model and of its pretraining."""

    lines: int
    vocabulary: int = 1200
    width: int = 96
    layers: int = 3
    heads: int = 4
    feedforward: int = 192
    max_length: int = 256
    """Longest input in tokens. Pretraining's lines have at most about 100; the rest is for doubled inputs."""
    initial: float = 0.06
    """Standard deviation of initial weights; at BERT's 0.02 a narrow model learns too slowly at first."""
    epochs: int = 2
    batch_tokens: int = 768
    learning_rate: float = 2e-3
    warm_up: float = 0.06
    masked: float = 0.25
    weight_decay: float = 0.01
    seed: int = 11


FULL = Settings(lines=32_000)
SMALL = Settings(lines=1_500, width=32, layers=2, heads=2, feedforward=64, epochs=1)


def encode(lines: Sequence[Line], tokenizer: Any, max_length: int) -> list[list[int]]:
    """Token ids of every line, parallel lines as pairs, none longer than `max_length`."""
    alone = [line.text for line in lines if line.translation is None]
    sources = [line.text for line in lines if line.translation is not None]
    translations = [line.translation for line in lines if line.translation is not None]
    ids: list[list[int]] = tokenizer(alone, truncation=True, max_length=max_length).input_ids
    if sources:
        ids += tokenizer(sources, translations, truncation=True, max_length=max_length).input_ids
    return ids


def batches(rows: Sequence[list[int]], tokens: int, draw: Random) -> list[list[list[int]]]:
    """All rows once, in batches of similar length of at most `tokens` tokens (padding included)."""
    order = sorted(range(len(rows)), key=lambda row: (len(rows[row]) + draw.random() * 4, row))
    made: list[list[list[int]]] = []
    batch: list[list[int]] = []
    for row in order:
        longest = max(len(rows[row]), *(len(other) for other in batch)) if batch else len(rows[row])
        if batch and longest * (len(batch) + 1) > tokens:
            made.append(batch)
            batch = []
        batch.append(rows[row])
    made.append(batch)
    draw.shuffle(made)
    return made


def mask(
    ids: torch.Tensor, share: float, mask_id: int, vocabulary: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's masking: of the chosen tokens 80% become <mask>, 10% another token, 10% stay.

    Args:
        ids: (batch, length) token ids; special tokens are never chosen.

    Returns:
        The masked ids, and (batch, length) booleans that say which tokens are to be predicted.
    """
    chosen = (torch.rand(ids.shape, generator=generator) < share) & (ids >= SPECIAL)
    kind = torch.rand(ids.shape, generator=generator)
    other = torch.randint(SPECIAL, vocabulary, ids.shape, generator=generator)
    masked = torch.where(chosen & (kind < 0.8), mask_id, ids)
    return torch.where(chosen & (kind >= 0.9), other, masked), chosen


def new_model(rows: Sequence[list[int]], settings: Settings, vocabulary: int) -> Any:
    """An `XLMRobertaForMaskedLM` before its first step; its weights follow from `rows` and the seed."""
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.feedforward,
        max_position_embeddings=settings.max_length + 2,  # RoBERTa's positions start behind the padding id
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=settings.initial,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(settings.seed)
    model = XLMRobertaForMaskedLM(config)
    with torch.no_grad():
        words = model.roberta.embeddings.word_embeddings.weight
        words += settings.initial * word_vectors(rows, vocabulary, settings.width, SPECIAL)
        places = model.roberta.embeddings.position_embeddings.weight
        places[2:] = settings.initial * sinusoids(len(places) - 2, settings.width)
    return model


def pad(rows: Sequence[list[int]], padding: int) -> torch.Tensor:
    """(batch, longest) token ids, padded on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])


def optimization(model: Any, settings: Settings, steps: int) -> tuple[Any, Any]:
    """AdamW and its schedule: a linear warm-up, then linearly to zero."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    warm = max(1, round(settings.warm_up * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm + 1)))
    )
    return optimizer, schedule


def pretrain(
    rows: Sequence[list[int]], tokenizer: Any, settings: Settings, report: Callable[[str], None]
) -> tuple[Any, dict[str, float]]:
    """Trains a new model on token ids.

    Returns:
        The model in evaluation mode, and the facts of its training (steps, tokens, losses in nats per token).
    """
    torch.set_num_threads(1)
    model = new_model(rows, settings, len(tokenizer)).train()
    draw, generator = Random(settings.seed), torch.Generator().manual_seed(settings.seed)
    plan = [batch for _ in range(settings.epochs) for batch in batches(rows, settings.batch_tokens, draw)]
    optimizer, schedule = optimization(model, settings, len(plan))
    losses: list[float] = []
    started = time.monotonic()
    for step, batch in enumerate(plan, start=1):
        ids = pad(batch, tokenizer.pad_token_id)
        real = (ids != tokenizer.pad_token_id).long()
        masked, chosen = mask(ids, settings.masked, tokenizer.mask_token_id, len(tokenizer), generator)
        hidden = model.roberta(masked, attention_mask=real).last_hidden_state
        # only the masked positions go through the head: the vocabulary is the widest layer
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[chosen]), ids[chosen])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.item())
        if step % max(1, len(plan) // 20) == 0 or step == len(plan):
            left = (time.monotonic() - started) / step * (len(plan) - step)
            report(
                f"pretraining {step / len(plan):4.0%}  loss {mean(losses[-50:]):.2f}  about {left:.0f} s left"
            )
    facts = {
        "steps": len(plan),
        "tokens": settings.epochs * sum(len(row) for row in rows),
        "loss_first": round(losses[0], 4),
        "loss_last": round(mean(losses[-max(1, len(losses) // 20) :]), 4),
    }
    return model.eval(), facts


def save(model: Any, folder: Path) -> None:
    """Writes weights and config for the `Auto…` classes.

    `save_pretrained` does the same but imports DeepSpeed where that is installed, which takes seconds.
    """
    from safetensors.torch import save_file

    model.config.dtype = model.dtype
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tied = set(model.all_tied_weights_keys)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items() if name not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
