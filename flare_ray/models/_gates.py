"""Checkpoints behind a licence: the hub gives them to accounts that accepted it, known by a token."""

from __future__ import annotations

from collections.abc import Sequence

from flare_ray.errors import Problem
from flare_ray.plan.checkpoints import is_local
from flare_ray.plan.schema import ModelSpec
from flare_ray.store import shelf


def gate_problems(models: Sequence[ModelSpec]) -> list[Problem]:
    """Gated checkpoints that this machine has neither in its hub cache nor a token for."""
    return [
        Problem(
            f"models[{place}]",
            f"{model.checkpoint}, which is gated, and no Hugging Face token",
            f"accept the licence at {model.gated}, then `hf auth login` or HF_TOKEN; or checkpoint: a local folder",
        )
        for place, model in enumerate(models)
        if model.gated and not is_local(model.checkpoint) and not _open(model.checkpoint)
    ]


def _open(checkpoint: str) -> bool:
    """Whether the checkpoint is here already, or there is a token to ask with."""
    from huggingface_hub import get_token

    return is_here(checkpoint) or bool(get_token())


def is_here(checkpoint: str) -> bool:
    """Whether a hub model need not be asked for: it is in the store, or in this machine's hub cache."""
    if shelf.kept("model", checkpoint):
        return True
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = checkpoint.partition("@")
    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str)
