"""Tokenizers of checkpoints that are on this machine, and whether they are their models'.

A tokenizer.json is read by the `tokenizers` library alone, so that a plan imports neither transformers nor torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.inputs.positions import positions_follow_padding
from flare_ray.models.base import origin
from flare_ray.plain_text import spelled_tokens_cut
from flare_ray.plan.checkpoints import SANDBOX, content_files, files_digest, is_local, local_path
from flare_ray.plan.schema import ModelSpec
from flare_ray.sandbox import world

_SMALLEST = 0.5
"""Share of a model's vocabulary that its tokenizer has at least; padded vocabularies are larger than tokenizers."""
_WEIGHTS = (".safetensors", ".bin")


def is_here(checkpoint: str) -> bool:
    """Return whether a checkpoint's tokenizer can be loaded without the network or building the sandbox."""
    if checkpoint.startswith(SANDBOX):
        return (cache_folder() / f"sandbox-{world.VERSION}.checksums.json").is_file()
    return is_local(checkpoint)


def tokenizer_identity(checkpoint: str) -> dict[str, str]:
    """Return what determines a tokenizer: the content of its files. For one that is here."""
    if checkpoint.startswith(SANDBOX):
        return {"sandbox": world.VERSION, "model": checkpoint.removeprefix(SANDBOX)}
    files = [file for file in content_files(local_path(checkpoint)) if file.suffix not in _WEIGHTS]
    return {"content": files_digest(files)}


class LightTokenizer:
    """A checkpoint's tokenizer.json, called as transformers' tokenizers are: texts to ids and offsets.

    unk_token_id, eos_token_id, pad_token_id: None where it has no such token. Text that spells a special token is
    text. Raises ValueError for a file that is no tokenizer.
    """

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises Exception itself
            raise ValueError(f"{folder / 'tokenizer.json'}: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        names = _special_names(folder)
        self._names = tuple(names.values())
        self.unk_token_id, self.eos_token_id, self.pad_token_id = (
            self._tokenizer.token_to_id(names[name]) if name in names else None
            for name in ("unk_token", "eos_token", "pad_token")
        )
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __call__(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        add_special_tokens: bool = True,
        return_offsets_mapping: bool = False,
    ) -> dict[str, list[Any]]:
        """Return `input_ids` and, on demand, `offset_mapping` of texts, or of pairs of texts."""
        inputs: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        with spelled_tokens_cut(self._tokenizer, self._names):
            encodings = self._tokenizer.encode_batch(inputs, add_special_tokens=add_special_tokens)
        encoded: dict[str, list[Any]] = {"input_ids": [encoding.ids for encoding in encodings]}
        if return_offsets_mapping:
            encoded["offset_mapping"] = [encoding.offsets for encoding in encodings]
        return encoded


def _special_names(folder: Path) -> dict[str, str]:
    """Return the special tokens of tokenizer_config.json and special_tokens_map.json, by their name."""
    names: dict[str, str] = {}
    for file in (folder / "special_tokens_map.json", folder / "tokenizer_config.json"):
        try:
            values = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        for name in ("unk_token", "eos_token", "pad_token"):
            value = values.get(name) if isinstance(values, dict) else None
            content = value.get("content") if isinstance(value, dict) else value
            if isinstance(content, str):
                names[name] = content
    return names


def load_tokenizer_of(model: ModelSpec) -> Any:
    """Return a model's tokenizer: a light one where it has a tokenizer.json. Raises InputError where it has none."""
    folder = Path(origin(model.checkpoint)["pretrained_model_name_or_path"])
    try:
        if (folder / "tokenizer.json").is_file():
            light = LightTokenizer(folder)
            if light.eos_token_id is not None or light.pad_token_id is not None:
                return light  # of another one only transformers knows the special tokens' usual names
        return registry.load("models", model.family).tokenizer(model.checkpoint)
    except InputError:
        raise
    except Exception as error:  # of sentencepiece, transformers, protobuf: each has its own
        got = f"{folder}: {type(error).__name__}: {error}"
        expected = "a tokenizer that transformers loads (tokenizer.save_pretrained)"
        raise InputError(model.name, [Problem(f"tokenizer of {model.name}", got, expected)]) from error


def vocabulary_problem(tokenizer: Any, vocab_size: int | None, checkpoint: str) -> Problem | None:
    """Return why a tokenizer cannot be its model's: ids without an embedding, or too few of them.

    vocab_size: rows of the model's embedding matrix; None where its configuration has none.
    """
    if not vocab_size:
        return None
    size, total = int(tokenizer.vocab_size), len(tokenizer)
    expected = "the tokenizer that the model was trained with"
    if size > vocab_size:
        got = f"a tokenizer of {size:,} tokens; the model has embeddings for {vocab_size:,}"
    elif total < _SMALLEST * vocab_size:
        got = f"a tokenizer of {total:,} tokens; the model has embeddings for {vocab_size:,}"
    else:
        return None
    return Problem(f"tokenizer of {checkpoint}", got, expected)


def special_token_problems(
    tokenizer: Any, config: Mapping[str, Any], architecture: str, checkpoint: str
) -> list[Problem]:
    """Return which special tokens a model lacks: one that ends an answer or pads a row, and ids with an embedding.

    config: the checkpoint's config.json. architecture: of its family.
    """
    where = f"tokenizer of {checkpoint}"
    size = vocabulary_size(config)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if eos is None and (pad is None or architecture == "decoder"):
        lacks = (
            "no end-of-sequence token" if architecture == "decoder" else "neither a padding nor an end token"
        )
        return [Problem(where, f"a tokenizer with {lacks}", "eos_token in its tokenizer_config.json")]
    problems = []
    for name, token in {"eos_token": eos, "pad_token": pad, "unk_token": tokenizer.unk_token_id}.items():
        if size and token is not None and token >= size:
            got = f"{name} with id {token:,}; the model has embeddings for {size:,}"
            problems.append(Problem(where, got, "a special token of the model's own vocabulary"))
    padding = config.get("pad_token_id", 1)
    if positions_follow_padding(config) and type(padding) is int and pad is not None and pad != padding:
        got = f"pad_token with id {pad:,}; the model's pad_token_id is {padding:,}"
        problems.append(Problem(where, got, "the tokenizer that the model was trained with"))
    if architecture == "encoder_decoder":
        end = config.get("eos_token_id", 1)
        ends = tokenizer(["a"])["input_ids"][0].count(end)
        if ends != 1:
            got = f"{ends} tokens with the id {end} (the model's eos_token_id) in an encoded text"
            problems.append(Problem(where, got, "a tokenizer that ends each text with the model's end token"))
    return problems


def vocabulary_size(config: Mapping[str, Any]) -> int | None:
    """Return `vocab_size` of a config.json, that of its text part for a model of several parts."""
    inner = config.get("text_config")
    size = config.get("vocab_size") or (inner.get("vocab_size") if isinstance(inner, dict) else None)
    return size if type(size) is int and size > 0 else None
