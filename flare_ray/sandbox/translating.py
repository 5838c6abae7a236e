"""A tiny NLLB (NLLB Team, 2022): one encoder-decoder between English and every target, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flare_ray.sandbox import world
from flare_ray.sandbox.initial import match_by_content, word_vectors
from flare_ray.sandbox.parallel import Pair
from flare_ray.sandbox.tokenizer import NLLB_SPECIAL
from flare_ray.sandbox.training import Report, Settings, pad, train

FULL = Settings(lines=26_000, vocabulary=1200, layers=2)
SMALL = Settings(lines=300, vocabulary=1200, width=32, layers=1, heads=2, feedforward=64)


@dataclass(frozen=True)
class Translation:
    """One direction of a pair: the source with its code and end, and the target alike, as token ids."""

    source: list[int]
    target: list[int]

    def __len__(self) -> int:
        return max(len(self.source), len(self.target))


def encode(pairs: Sequence[Pair], tokenizer: Any) -> list[Translation]:
    """Both directions of every pair; each side is ``<language code> … </s>``."""
    english = tokenizer([pair.english for pair in pairs], add_special_tokens=False).input_ids
    target = tokenizer([pair.target for pair in pairs], add_special_tokens=False).input_ids
    made: list[Translation] = []
    for pair, one, other in zip(pairs, english, target, strict=True):
        codes = tokenizer.convert_tokens_to_ids([world.flores(world.SOURCE), world.flores(pair.folder)])
        sides = [[code, *ids, tokenizer.eos_token_id] for code, ids in zip(codes, (one, other), strict=True)]
        made += [Translation(sides[0], sides[1]), Translation(sides[1], sides[0])]
    return made


def new_model(pairs: Sequence[Translation], settings: Settings, tokenizer: Any) -> Any:
    """An `M2M100ForConditionalGeneration` before its first step."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=settings.width,
        encoder_layers=settings.layers,
        decoder_layers=settings.layers,
        encoder_attention_heads=settings.heads,
        decoder_attention_heads=settings.heads,
        encoder_ffn_dim=settings.feedforward,
        decoder_ffn_dim=settings.feedforward,
        max_position_embeddings=settings.max_length,
        init_std=settings.initial,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        scale_embedding=True,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(settings.seed)
    model = M2M100ForConditionalGeneration(config)
    special = len(NLLB_SPECIAL)
    known = len(tokenizer) - len(world.folders()) - 1  # behind the pieces: language codes and <mask>
    rows = [[id for id in (*one.source, *one.target) if special <= id < known] for one in pairs[::2]]
    with torch.no_grad():
        vectors = word_vectors(rows, len(tokenizer), settings.width, special)
        model.model.shared.weight += settings.initial * vectors
    match_by_content(model, settings.matching)
    return model


def pretrain(
    pairs: Sequence[Pair], tokenizer: Any, settings: Settings, report: Report
) -> tuple[Any, dict[str, float]]:
    """A trained model and the facts of its training."""
    examples = encode(pairs, tokenizer)
    model = new_model(examples, settings, tokenizer)
    padding, end = tokenizer.pad_token_id, tokenizer.eos_token_id

    def loss_of(batch: list[Translation]) -> torch.Tensor:
        source = pad([one.source for one in batch], padding)
        target = pad([one.target for one in batch], padding)
        given = torch.cat((torch.full_like(target[:, :1], end), target[:, :-1]), dim=1)
        states = model.model(source, (source != padding).long(), decoder_input_ids=given).last_hidden_state
        real = target != padding
        # the language code is given when the model is used (`forced_bos_token_id`), and not predicted
        real[:, 0] = False
        return torch.nn.functional.cross_entropy(
            model.lm_head(states[real]), target[real], label_smoothing=0.0
        )

    return model, train(model, examples, loss_of, settings, report)
