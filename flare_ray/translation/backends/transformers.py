"""Translation by `generate` of Hugging Face transformers: the reference, on a CPU or a GPU."""

from __future__ import annotations

from typing import Any

import torch

from flare_ray.errors import InputError, Problem
from flare_ray.models.base import origin
from flare_ray.translation.backends.base import Backend, Decoding


class TransformersBackend(Backend):
    """Any encoder-decoder that `AutoModelForSeq2SeqLM` loads."""

    def __init__(self, checkpoint: str, decoding: Decoding, device: str = "cpu", threads: int = 1):
        from transformers import AutoModelForSeq2SeqLM

        super().__init__(checkpoint, decoding, device, threads)
        torch.set_num_threads(threads)
        dtype = _dtype(decoding.precision, device)
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(**origin(checkpoint), dtype=dtype)
        self.model = model.to(device).eval().requires_grad_(False)
        # what a checkpoint's own generation_config says (sampling, length, a forced end) has no say
        self.model.generation_config = self._generation()

    def _generation(self) -> Any:
        from transformers import GenerationConfig

        start, padding = self.config.decoder_start_token_id, self.tokenizer.pad_token_id
        return GenerationConfig(
            do_sample=False,
            num_beams=self.decoding.beams,
            length_penalty=1.0,
            early_stopping=self.decoding.beams > 1,
            decoder_start_token_id=start,
            pad_token_id=padding,
            eos_token_id=self.tokenizer.eos_token_id,
            suppress_tokens=[padding] if start == padding else None,  # Marian's start; it must not predict it
            use_cache=True,
        )

    @torch.inference_mode()
    def generate(self, rows: list[list[int]], first: str | None) -> list[list[int]]:
        """See `Backend`."""
        inputs = self.tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt").to(self.device)
        forced = self.tokenizer.convert_tokens_to_ids(first) if first else None
        given = 1 + (forced is not None)  # the start token, and the language code
        made = self.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            forced_bos_token_id=forced,
            max_new_tokens=self.max_length + given - 1,
        )
        end = self.tokenizer.eos_token_id
        return [_until(ids, end) for ids in made[:, given:].tolist()]


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


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids
