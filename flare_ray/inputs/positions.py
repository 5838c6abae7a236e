"""How many tokens a checkpoint reads, against the sweep's `max_length`.

A token beyond the last position fails in the middle of a training (on a GPU as a device-side assert), or is read at a
place that the model has never seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.inputs.findings import Findings
from flare_ray.plan.checkpoints import SANDBOX, is_local, local_path, read_config
from flare_ray.plan.grid import Run

_OFFSET = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert")
"""Model types whose positions begin behind the padding token's id."""
_KNOWN = {
    "FacebookAI/xlm-roberta-large": 512,
    "FacebookAI/xlm-roberta-base": 512,
    "google-bert/bert-base-multilingual-cased": 512,
    "intfloat/multilingual-e5-small": 512,
    "meta-llama/Llama-3.1-8B": 131_072,
    "HuggingFaceTB/SmolLM2-135M": 8192,
    "google/gemma-2-9b": 8192,
    "google/gemma-2-2b": 8192,
    "google/gemma-3-270m": 32_768,
    f"{SANDBOX}sandbox-xlm-r": 512,
    f"{SANDBOX}sandbox-llama": 512,
    f"{SANDBOX}sandbox-gemma2": 512,
}
"""Tokens that checkpoints known by name read, from their config.json. mT5 has no limit (relative positions)."""


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model reads, from its config.json; None for relative or unknown positions."""
    inner = config.get("text_config")
    if isinstance(inner, dict):  # a model of several parts
        return positions_of({"model_type": config.get("model_type"), **inner})
    size = config.get("max_position_embeddings", config.get("n_positions"))
    if config.get("model_type") in ("mt5", "t5", "umt5") or type(size) is not int or size < 1:
        return None
    if config.get("model_type") not in _OFFSET:
        return size
    padding = config.get("pad_token_id", 1)
    return size - (padding if type(padding) is int else 1) - 1


def positions_follow_padding(config: Mapping[str, Any]) -> bool:
    """Return whether a model counts positions from the tokens that are not padding, by `pad_token_id`."""
    return config.get("model_type") in _OFFSET


def positions(checkpoint: str) -> int | None:
    """Return how many tokens a checkpoint reads; None where that is not known before it is fetched."""
    if not is_local(checkpoint):
        return _KNOWN.get(checkpoint.partition("@")[0])
    try:
        return positions_of(read_config(local_path(checkpoint)))
    except ValueError:
        return None  # reported with the checkpoint


def check_positions(runs: Iterable[Run], findings: Findings) -> None:
    """Find models whose runs, or whose base model, read more tokens than they have positions.

    Two texts in one input (input-level fusion) are cut to the model's positions: a warning says how many are left.
    """
    lengths: dict[tuple[str, str, str, int], None] = {}
    joined: dict[tuple[str, str, str, int], None] = {}
    for run in runs:
        model, task, method = run.cell.model, run.cell.task, run.cell.method
        lengths[model.checkpoint, task, "base.max_length", run.base.settings["max_length"]] = None
        lengths[model.checkpoint, task, "training.max_length", run.settings["max_length"]] = None
        if registry.load("methods", method).joins:
            joined[model.checkpoint, task, method, run.settings["max_length"]] = None
    for checkpoint, task, where, length in lengths:
        limit = positions(checkpoint)
        if limit is not None and length > limit:
            got = f"{length} tokens for {task} on {checkpoint}, which has positions for {limit}"
            findings.add([Problem(where, got, f"at most {limit}")])
    for checkpoint, task, method, length in joined:
        limit = positions(checkpoint)
        if limit is not None and length <= limit < 2 * length:
            got = f"{method} joins two texts of {length} tokens; {checkpoint} has positions for {limit}"
            expected = f"max_length {limit // 2}; longer texts of {task} are cut to that in {method} alone"
            findings.add(warnings=[Problem("training.max_length", got, expected)])


def check_length(length: int, limit: int | None, checkpoint: str) -> None:
    """Raise InputError where a loaded checkpoint has fewer positions (`limit`) than `length` tokens."""
    if limit is not None and length > limit:
        got = f"{length} tokens; {checkpoint} has positions for {limit}"
        raise InputError(checkpoint, [Problem("max_length", got, f"at most {limit}")])
