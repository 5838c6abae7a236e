"""A tiny XLM-RoBERTa, pretrained by masked language modelling (Devlin et al., 2019; Conneau et al., 2020).

Parallel lines go in as pairs, so that a word may be filled in from its translation (TLM, Conneau and Lample,
2019): with the words that languages share, that makes the space multilingual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from flare_ray.sandbox.examples import Example, encode
from flare_ray.sandbox.initial import match_by_content, sinusoids, word_vectors
from flare_ray.sandbox.text import Line
from flare_ray.sandbox.tokenizer import XLM_R_SPECIAL
from flare_ray.sandbox.training import Report, Settings, pad, train

FULL = Settings(lines=70_000)
SMALL = Settings(lines=700, width=32, layers=2, heads=2, feedforward=64)
MASKED, BESIDE = 0.2, 0.07
"""Share of the tokens to be predicted: in lines without a closing, and beside one (which needs the rest)."""
FILLER = 0.3
"""Weight in the loss of a token that belongs to no closing."""
SPECIAL = len(XLM_R_SPECIAL)
"""Ids below this are special tokens."""


def mask(
    ids: torch.Tensor,
    salient: torch.Tensor,
    mask_id: int,
    vocabulary: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's masking: of the chosen tokens 80% become <mask>, 10% another token, 10% stay.

    Args:
        ids: (batch, length) token ids; special tokens are never chosen.
        salient: (batch, length) booleans: tokens that are always chosen and always become <mask>.

    Returns:
        The masked ids, and (batch, length) booleans that say which tokens are to be predicted.
    """
    share = torch.where(salient.any(1, keepdim=True), BESIDE, MASKED)
    chosen = (torch.rand(ids.shape, generator=generator) < share) & (ids >= SPECIAL)
    kind = torch.rand(ids.shape, generator=generator)
    other = torch.randint(SPECIAL, vocabulary, ids.shape, generator=generator)
    masked = torch.where(chosen & (kind < 0.8), mask_id, ids)
    masked = torch.where(chosen & (kind >= 0.9), other, masked)
    return torch.where(salient, mask_id, masked), chosen | salient


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
        words += 0.5 * settings.initial * word_vectors(rows, vocabulary, settings.width, SPECIAL)
        places = model.roberta.embeddings.position_embeddings.weight
        places[2:] = 1.5 * settings.initial * sinusoids(len(places) - 2, settings.width)
    match_by_content(model, settings.matching)
    return model


def pretrain(
    lines: Sequence[Line], tokenizer: Any, settings: Settings, report: Report
) -> tuple[Any, dict[str, float]]:
    """A trained model and the facts of its training."""
    examples = encode(lines, tokenizer, settings.seed)
    model = new_model([one.ids for one in examples], settings, len(tokenizer))
    generator = torch.Generator().manual_seed(settings.seed)

    def loss_of(batch: list[Example]) -> torch.Tensor:
        ids = pad([one.ids for one in batch], tokenizer.pad_token_id)
        salient = pad([one.salient for one in batch], False)
        real = (ids != tokenizer.pad_token_id).long()
        masked, chosen = mask(ids, salient, tokenizer.mask_token_id, len(tokenizer), generator)
        hidden = model.roberta(masked, attention_mask=real).last_hidden_state
        # only the masked positions go through the head: the vocabulary is the widest layer
        losses = torch.nn.functional.cross_entropy(
            model.lm_head(hidden[chosen]), ids[chosen], reduction="none"
        )
        weight = torch.where(salient[chosen], 1.0, FILLER)
        return (losses * weight).sum() / weight.sum()

    return model, train(model, examples, loss_of, settings, report)
