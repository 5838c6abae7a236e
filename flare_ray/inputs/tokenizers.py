"""Tokenizers of checkpoints that are on this machine, and whether they are their models'."""

from __future__ import annotations

from typing import Any

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.models.base import origin
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


def load_tokenizer_of(model: ModelSpec) -> Any:
    """Return a model's tokenizer. Raises InputError where it cannot be loaded."""
    family = registry.load("models", model.family)
    try:
        return family.tokenizer(model.checkpoint)
    except InputError:
        raise
    except Exception as error:  # of sentencepiece, tokenizers, transformers, protobuf: each has its own
        got = f"{origin(model.checkpoint)['pretrained_model_name_or_path']}: {type(error).__name__}: {error}"
        expected = "a tokenizer that transformers loads (tokenizer.save_pretrained)"
        raise InputError(model.name, [Problem(f"tokenizer of {model.name}", got, expected)]) from error


def vocabulary_problem(tokenizer: Any, vocab_size: int | None, checkpoint: str) -> Problem | None:
    """Return why a tokenizer cannot be its model's: ids without an embedding, or too few of them.

    vocab_size: rows of the model's embedding matrix; None where its configuration has none.
    """
    if not vocab_size:
        return None
    size, whole = int(tokenizer.vocab_size), len(tokenizer)
    expected = "the tokenizer that the model was trained with"
    if size > vocab_size:
        got = f"a tokenizer of {size:,} tokens; the model has embeddings for {vocab_size:,}"
    elif whole < _SMALLEST * vocab_size:
        got = f"a tokenizer of {whole:,} tokens; the model has embeddings for {vocab_size:,}"
    else:
        return None
    return Problem(f"tokenizer of {checkpoint}", got, expected)


def vocabulary_size(config: dict[str, Any]) -> int | None:
    """Return `vocab_size` of a config.json, that of its text part for a model of several parts."""
    inner = config.get("text_config")
    size = config.get("vocab_size") or (inner.get("vocab_size") if isinstance(inner, dict) else None)
    return size if type(size) is int and size > 0 else None
