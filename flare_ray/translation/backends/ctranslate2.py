"""Translation by CTranslate2 (extra `[ct2]`): quantised weights, and no time spent on padding.

A checkpoint is converted once per precision into the cache, whole or not at all, and converted again when it
is damaged there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import ctranslate2

from flare_ray.cache import cache_folder
from flare_ray.checked_cache import discard, is_whole, seal
from flare_ray.loading import load_model, load_tokenizer
from flare_ray.models.base import origin
from flare_ray.plan.checkpoints import checkpoint_identity
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.translation.backends.base import Backend, Decoding
from flare_ray.umask import folder_mode

_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}


class CTranslate2Backend(Backend):
    """M2M100, NLLB and Marian checkpoints, or whatever else CTranslate2 converts.

    On a GPU, int8 means int8 weights with fp16 activations.
    """

    def __init__(self, checkpoint: str, decoding: Decoding, device: str = "cpu", threads: int = 1):
        super().__init__(checkpoint, decoding, device, threads)
        kind, _, index = device.partition(":")
        stored = _stored(decoding.precision, kind)
        self.translator = ctranslate2.Translator(
            str(converted(checkpoint, stored)),
            device=kind,
            device_index=int(index or 0),
            compute_type="int8_float16" if (stored, kind) == ("int8", "cuda") else stored,
            intra_threads=threads,
        )

    def generate(self, rows: list[list[int]], first: str | None) -> list[list[int]]:
        """See `Backend`."""
        made = self.translator.translate_batch(
            [self.tokenizer.convert_ids_to_tokens(row) for row in rows],
            target_prefix=[[first]] * len(rows) if first else None,
            beam_size=self.decoding.beams,
            max_decoding_length=self.max_length + bool(first),
            min_decoding_length=0,  # as `generate`; the default forbids an empty translation
            max_input_length=0,  # the base checks it; the default cuts silently
            return_end_token=True,
        )
        hypotheses = [one.hypotheses[0][bool(first) :] for one in made]
        return [self.tokenizer.convert_tokens_to_ids(tokens) for tokens in hypotheses]


def converted(checkpoint: str, stored: str) -> Path:
    """The folder of a converted checkpoint, which is converted first if it is not there.

    stored: type of the weights, in CTranslate2's words.
    """
    from filelock import FileLock

    identity = {"checkpoint": checkpoint_identity(checkpoint), "stored": stored}
    key = fingerprint({**identity, "ctranslate2": ctranslate2.__version__})
    folder = cache_folder() / "ct2" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{key}.lock")):
        if not is_whole(folder):
            discard(folder)
            for abandoned in folder.parent.glob(f"{key}.making-*"):  # we hold the lock: nobody is making it
                shutil.rmtree(abandoned, ignore_errors=True)
            staging = Path(tempfile.mkdtemp(prefix=f"{key}.making-", dir=folder.parent))
            try:
                _convert(checkpoint, stored, staging)
                staging.chmod(folder_mode())
                staging.rename(folder)
                seal(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder


def _convert(checkpoint: str, stored: str, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers.utils import cached_file

    place = origin(checkpoint)

    class Converter(TransformersConverter):
        """Reads model and tokenizer at the checkpoint's revision, where the original reads the newest.

        M2M100's language tokens stand beside its vocabulary, where the original looks for them in vain.
        """

        def load_model(self, model_class: Any, model_name_or_path: str, **settings: Any) -> Any:
            return load_model(model_class, **place, **settings)

        def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **settings: Any) -> Any:
            tokenizer = load_tokenizer(**place, **settings)
            vocabulary = tokenizer.get_vocab() | getattr(tokenizer, "lang_token_to_id", {})
            tokenizer.get_vocab = lambda: vocabulary
            return tokenizer

    name, revision = place["pretrained_model_name_or_path"], place.get("revision")
    config = cached_file(name, "config.json", revision=revision)
    Converter(str(Path(str(config)).parent)).convert(str(folder), quantization=stored, force=True)


def _stored(precision: str, kind: str) -> str:
    """The type of weights; `auto` is int8 on a CPU and fp16 on a GPU."""
    return _TYPES[precision] if precision != "auto" else "float16" if kind == "cuda" else "int8"
