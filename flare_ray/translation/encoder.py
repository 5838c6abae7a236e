"""The encoder of a translation model: the source states of FLARE MT (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from flare_ray.models.base import origin
from flare_ray.translation.checkpoints import flores


class TranslationEncoder:
    """A frozen encoder with its tokenizer.

    width: d_M, of its states.
    """

    def __init__(self, checkpoint: str, dtype: torch.dtype, device: str):
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        place = origin(checkpoint)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(**place)
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(**place, dtype=dtype)
        self.encoder = model.get_encoder().to(device).eval().requires_grad_(False)
        self.width = int(model.config.d_model)
        self.device = device

    @torch.no_grad()
    def states(self, texts: Sequence[str], language: str, max_length: int) -> list[torch.Tensor]:
        """States [m, d_M] of each text's real tokens, at most `max_length` of them, on the CPU."""
        self.tokenizer.src_lang = flores(language)
        inputs = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt"
        ).to(self.device)
        states = self.encoder(**inputs).last_hidden_state.cpu()
        return [row[mask.bool()] for row, mask in zip(states, inputs["attention_mask"].cpu(), strict=True)]
