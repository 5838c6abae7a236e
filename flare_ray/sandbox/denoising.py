"""A tiny mT5, pretrained as a denoiser: the encoder reads a text with holes, the decoder writes it in full.

mT5's own span corruption has the decoder write the holes only. But its heads for classification and for span
extraction feed the decoder the whole input again and read its states token by token (as BART's do), so the
decoder is pretrained on what it will be used for: BART's text infilling (Lewis et al., 2020). Each hole is one
sentinel, as in T5 (Raffel et al., 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch

from flare_ray.sandbox.examples import Example, encode
from flare_ray.sandbox.initial import match_by_content, word_vectors
from flare_ray.sandbox.text import Line
from flare_ray.sandbox.tokenizer import SENTINELS, T5_SPECIAL
from flare_ray.sandbox.training import Report, Settings, pad, train

FULL = Settings(lines=36_000, layers=2)
SMALL = Settings(lines=500, width=32, layers=1, heads=2, feedforward=64)
HOLES = 0.15
"""Share of the tokens that fall into holes, beside the closings."""
KEPT = 0.3
"""Weight in the loss of a token that the encoder has seen: to be copied, not to be guessed."""


def with_holes(one: Example, sentinels: Sequence[int], draw: Random) -> tuple[list[int], list[bool]]:
    """The encoder's input, and for every token of `one` whether it is hidden there."""
    hidden = [
        salient or (token >= len(T5_SPECIAL) and draw.random() < HOLES)
        for token, salient in zip(one.ids, one.salient, strict=True)
    ]
    left, number = [], -1
    for place, token in enumerate(one.ids):
        if not hidden[place]:
            left.append(token)
        elif place == 0 or not hidden[place - 1]:
            number += 1
            left.append(sentinels[number % len(sentinels)])
    return left, hidden


def new_model(rows: Sequence[list[int]], settings: Settings, vocabulary: int) -> Any:
    """An `MT5ForConditionalGeneration` before its first step; its weights follow from `rows` and the seed."""
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(
        vocab_size=vocabulary,
        d_model=settings.width,
        d_kv=settings.width // settings.heads,
        d_ff=settings.feedforward,
        num_layers=settings.layers,
        num_decoder_layers=settings.layers,
        num_heads=settings.heads,
        relative_attention_max_distance=64,
        dropout_rate=0.0,
        classifier_dropout=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    torch.manual_seed(settings.seed)
    model = MT5ForConditionalGeneration(config)
    with torch.no_grad():
        vectors = word_vectors(rows, vocabulary, settings.width, len(T5_SPECIAL))
        for words, scale in ((model.shared.weight, 0.5), (model.lm_head.weight, settings.initial)):
            torch.manual_seed(
                settings.seed
            )  # the same noise in both: what is written looks like what is read
            words.copy_(scale * (torch.randn(words.shape) + vectors))
    # T5 does not divide by the square root of the heads' width
    match_by_content(model, settings.matching / (settings.width / settings.heads) ** 0.25)
    return model


def pretrain(
    lines: Sequence[Line], tokenizer: Any, settings: Settings, report: Report
) -> tuple[Any, dict[str, float]]:
    """A trained model and the facts of its training."""
    examples = encode(lines, tokenizer, settings.seed)
    model = new_model([one.ids for one in examples], settings, len(tokenizer))
    draw, padding = Random(settings.seed), tokenizer.pad_token_id
    sentinels = tokenizer.convert_tokens_to_ids([f"<extra_id_{number}>" for number in range(SENTINELS)])

    def loss_of(batch: list[Example]) -> torch.Tensor:
        holed = [with_holes(one, sentinels, draw) for one in batch]
        read = pad([left for left, _ in holed], padding)
        written = pad([one.ids for one in batch], padding)
        weight = pad([hidden for _, hidden in holed], False) * (1.0 - KEPT) + KEPT
        weight = weight * (written != padding)
        encoded = model.encoder(read, attention_mask=(read != padding).long())
        given = torch.cat((torch.full_like(written[:, :1], padding), written[:, :-1]), dim=1)
        states = model.decoder(
            given,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=(read != padding).long(),
        ).last_hidden_state
        real = weight > 0
        losses = torch.nn.functional.cross_entropy(
            model.lm_head(states[real]), written[real], reduction="none"
        )
        return (losses * weight[real]).sum() / weight.sum()

    return model, train(model, examples, loss_of, settings, report)
