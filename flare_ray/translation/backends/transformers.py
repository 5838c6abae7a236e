"""Translation by Hugging Face transformers, on a CPU or a GPU: greedily by our own loop, with beams by `generate`."""

from __future__ import annotations

from typing import Any

import torch

from flare_ray.errors import InputError, Problem
from flare_ray.loading import load_model
from flare_ray.models.base import origin
from flare_ray.translation.backends.base import Backend, Decoding
from flare_ray.translation.backends.greedy import greedy, until


class TransformersBackend(Backend):
    """Any encoder-decoder that `AutoModelForSeq2SeqLM` loads."""

    def __init__(self, checkpoint: str, decoding: Decoding, device: str = "cpu", threads: int = 1):
        super().__init__(checkpoint, decoding, device, threads)
        torch.set_num_threads(threads)
        dtype = _dtype(decoding.precision, device)
        model = load_model("AutoModelForSeq2SeqLM", **origin(checkpoint), dtype=dtype)
        self.model = model.to(device).eval().requires_grad_(False)
        # what a checkpoint's own generation_config says (sampling, length, a forced end) has no say
        self.model.generation_config = self._generation()

    @property
    def _never(self) -> int | None:
        """Padding, where it is the decoder's start token (Marian): it must not be predicted."""
        padding: int = self.tokenizer.pad_token_id
        return padding if self.config.decoder_start_token_id == padding else None

    def _generation(self) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            num_beams=self.decoding.beams,
            length_penalty=1.0,
            early_stopping=self.decoding.beams > 1,
            decoder_start_token_id=self.config.decoder_start_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            suppress_tokens=None if self._never is None else [self._never],
            use_cache=True,
        )

    @torch.inference_mode()
    def generate(self, rows: list[list[int]], first: str | None) -> list[list[int]]:
        """See `Backend`."""
        made = self.tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt").to(self.device)
        ids, mask, end = made["input_ids"], made["attention_mask"], self.tokenizer.eos_token_id
        given = [self.config.decoder_start_token_id]
        if first:
            given.append(self.tokenizer.convert_tokens_to_ids(first))
        if self.decoding.beams == 1:
            return greedy(self.model, ids, mask, given, end, self.max_length, self._never)
        found = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            forced_bos_token_id=given[1] if first else None,
            max_new_tokens=self.max_length + len(given) - 1,
        )
        return [until(one, end) for one in found[:, len(given) :].tolist()]


def _dtype(precision: str, device: str) -> torch.dtype:
    if precision == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in known:
        raise InputError(
            "cannot translate", [Problem("precision", repr(precision), "auto, fp32, bf16 or fp16")]
        )
    return known[precision]
