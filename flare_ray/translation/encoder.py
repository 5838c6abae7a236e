"""The encoder of a translation model: the source states of FLARE MT (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from flare_ray.loading import load_config, load_model, load_tokenizer
from flare_ray.models.base import origin
from flare_ray.plain_text import encode_text
from flare_ray.plan.checkpoints import checkpoint_identity
from flare_ray.translation.checkpoints import flores

_TOKENIZED_AT_ONCE = 1000


class TranslationEncoder:
    """A frozen encoder with its tokenizer, both loaded when they are first needed.

    What states are already known for (`states.py`) costs no weights: `width` is read from the configuration.
    """

    def __init__(self, checkpoint: str, dtype: torch.dtype, device: str):
        self.checkpoint, self.dtype, self.device = checkpoint, dtype, device

    @cached_property
    def identity(self) -> dict[str, str]:
        """What determines the weights and the tokenizer."""
        return checkpoint_identity(self.checkpoint)

    @cached_property
    def width(self) -> int:
        """d_M, of the states."""
        return int(load_config(**origin(self.checkpoint)).d_model)

    @cached_property
    def tokenizer(self) -> Any:
        """The translation model's tokenizer."""
        return load_tokenizer(**origin(self.checkpoint))

    @cached_property
    def encoder(self) -> Any:
        """The encoder alone, on its device."""
        model = load_model("AutoModelForSeq2SeqLM", **origin(self.checkpoint), dtype=self.dtype)
        return model.get_encoder().to(self.device).eval().requires_grad_(False)

    def unload(self) -> None:
        """Frees the weights; they are loaded again when they are needed again."""
        if self.__dict__.pop("encoder", None) is not None and self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def lengths(self, texts: Sequence[str], language: str, max_length: int) -> np.ndarray:
        """Tokens of each text, special ones included, after the cut at `max_length`: int64 [texts]."""
        self.tokenizer.src_lang = flores(language)
        found: list[int] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            some = list(texts[start : start + _TOKENIZED_AT_ONCE])
            encoded = encode_text(self.tokenizer, some, truncation=True, max_length=max_length)
            found += map(len, encoded["input_ids"])
        return np.array(found, np.int64)

    @torch.no_grad()
    def states(self, texts: Sequence[str], language: str, max_length: int) -> list[torch.Tensor]:
        """States [m, d_M] of each text's real tokens, at most `max_length` of them, on the CPU."""
        self.tokenizer.src_lang = flores(language)
        inputs = encode_text(
            self.tokenizer,
            list(texts),
            padding=True,
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        ).to(self.device)
        states = self.encoder(**inputs).last_hidden_state.cpu()
        return [row[mask.bool()] for row, mask in zip(states, inputs["attention_mask"].cpu(), strict=True)]
