"""What a backend is: a loaded translation model that takes a batch of texts and gives their translations.

>>> backend = load("transformers", "sandbox:sandbox-nllb", Decoding())  # doctest: +SKIP
>>> backend.translate(["the film was good."], "eng", "qal")  # doctest: +SKIP
[Translated(text='te film vas gud.', tokens=7, truncated=False)]
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flare_ray.errors import InputError, Problem
from flare_ray.loading import load_config, load_tokenizer
from flare_ray.models.base import origin
from flare_ray.plain_text import encode_text
from flare_ray.registry import wanted
from flare_ray.translation.backends.codes import codes_of

BACKENDS = {"transformers": "TransformersBackend", "ctranslate2": "CTranslate2Backend"}
"""File of this folder -> its class."""
_NEEDED = {"ctranslate2": "flare-ray[ct2]", "sentencepiece": "flare-ray[marian]"}  # module -> what to install


@dataclass(frozen=True)
class Decoding:
    """What, beside the checkpoint and the backend, determines a translation.

    beams: 1 is greedy (paper). max_length: most tokens of a translation, its end token counted, its language code
    not; 512 or what the model has, when left out. precision: of weights and passes; `auto` is what suits the device:
    transformers fp32 on a CPU, bf16 on a GPU (fp16 on one without); ctranslate2 int8 on a CPU, fp16 on a GPU.
    """

    beams: int = 1
    max_length: int | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"


@dataclass(frozen=True)
class Translated:
    """A text's translation.

    tokens: generated, the end token counted. truncated: it ended at the most tokens and not with an end token.
    """

    text: str
    tokens: int
    truncated: bool


class Backend(ABC):
    """A checkpoint that is loaded on one device of this process.

    limit: most input tokens that the model reads, special tokens counted. max_length: most tokens of a translation.
    """

    limit: int
    max_length: int

    def __init__(self, checkpoint: str, decoding: Decoding, device: str = "cpu", threads: int = 1):
        self.checkpoint, self.decoding, self.device, self.threads = checkpoint, decoding, device, threads
        self.config: Any = load_config(**origin(checkpoint))
        self.tokenizer: Any = load_tokenizer(**origin(checkpoint))
        self.tokenizer.padding_side = "right"
        self.codes = codes_of(self.tokenizer)
        positions = self.config.max_position_embeddings
        self.limit = min(positions, self.tokenizer.model_max_length)
        most = positions - 2  # the start token and the language code have one each
        self.max_length = min(512, most) if decoding.max_length is None else decoding.max_length
        if self.max_length > most:
            found = Problem("max_length", str(decoding.max_length), f"at most {most} for {checkpoint}")
            raise InputError("cannot translate", [found])

    def lengths(self, texts: Sequence[str], source: str) -> list[int]:
        """Input tokens of each text, special tokens counted."""
        prefix = self.codes.style == "marian"  # the target's code, one token whatever the target
        return [len(row) + prefix for row in self._encoded(texts, source)]

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translated]:
        """Translations of one batch, in its order.

        source, target: languages, as `codes.Codes.code` takes them. A blank text is its own translation. When the
        device's memory is exhausted the batch is halved.

        Raises:
            InputError: the checkpoint does not know a language.
            ValueError: a text has more tokens than `limit`.
        """
        found = [Translated(text, 0, truncated=False) for text in texts]
        full = [index for index, text in enumerate(texts) if text.strip()]
        code = self.codes.code(target) if self.codes.tokens else None
        prefix = self.codes.tokens[code] if code and self.codes.style == "marian" else ""
        rows = self._encoded([prefix + texts[index] for index in full], source)
        longest = max(map(len, rows), default=0)
        if longest > self.limit:
            raise ValueError(f"a text has {longest} tokens; {self.checkpoint} reads {self.limit}")
        first = self.codes.tokens[code] if code and self.codes.told_source else None
        for index, ids in zip(full, self._halving(rows, first), strict=True):
            found[index] = self._translated(ids)
        return found

    @abstractmethod
    def generate(self, rows: list[list[int]], first: str | None) -> list[list[int]]:
        """Generated ids of each row of input ids, behind `first`, up to and with the end token if there was one.

        first: the token that every translation is made to start with.
        """

    def _encoded(self, texts: Sequence[str], source: str) -> list[list[int]]:
        """Input ids. What looks like a special token in a text is text."""
        if not texts:
            return []
        if self.codes.told_source:
            self.tokenizer.src_lang = self.codes.code(source)
        made = encode_text(self.tokenizer, list(texts), verbose=False)
        return list(made["input_ids"])

    def _halving(self, rows: list[list[int]], first: str | None) -> list[list[int]]:
        if not rows:
            return []
        try:
            return self.generate(rows, first)
        except RuntimeError as error:
            if len(rows) == 1 or not _out_of_memory(error):
                raise
        # behind the `except`: its traceback would keep the failed pass's tensors
        self.free()
        half = (len(rows) + 1) // 2
        return self._halving(rows[:half], first) + self._halving(rows[half:], first)

    def free(self) -> None:
        """Gives unused memory of the device back."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _translated(self, ids: list[int]) -> Translated:
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Translated(text, len(ids), truncated=not ids or ids[-1] != self.tokenizer.eos_token_id)


def load(
    name: str, checkpoint: str, decoding: Decoding | None = None, device: str = "cpu", threads: int = 1
) -> Backend:
    """A checkpoint loaded by the backend of a name (a key of BACKENDS).

    Raises:
        InputError: no such backend, or a package that it or the checkpoint's tokenizer needs is not installed.
    """
    if name not in BACKENDS:
        raise InputError("cannot translate", [Problem("backend", repr(name), wanted(name, BACKENDS))])
    try:
        backend = getattr(importlib.import_module(f"flare_ray.translation.backends.{name}"), BACKENDS[name])
        return backend(checkpoint, decoding or Decoding(), device, threads)
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        needed = f"pip install '{_NEEDED[error.name]}'"
        raise InputError(
            "cannot translate", [Problem("backend", f"{name} without {error.name}", needed)]
        ) from error


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)
