"""Local checkpoints of translation models: whole, and with positions for what they are given to read and write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.inputs.checkpoints import folder_problems
from flare_ray.inputs.findings import Findings
from flare_ray.inputs.positions import positions_of
from flare_ray.plan.axes import parallels
from flare_ray.plan.checkpoints import is_local, local_path, read_config, translator
from flare_ray.plan.grid import Run
from flare_ray.plan.schema import Sweep, Translation

_KNOWN = dict.fromkeys(
    ("facebook/nllb-200-3.3B", "facebook/nllb-200-1.3B", "facebook/nllb-200-distilled-600M"), 1024
)
"""Positions of translators known by name, from their config.json."""
_COMPUTED = ("m2m_100", "mt5", "t5", "umt5")
"""Model types whose encoder reads texts of any length: positions are computed, or relative."""


def check_translators(sweep: Sweep, runs: Iterable[Run], found: Findings) -> None:
    """Find what is wrong with the checkpoints that translate, and with those whose states are a method's source."""
    for machine in parallels(sweep):
        if isinstance(machine, Translation):
            _check_translation(machine, found)
    lengths: dict[tuple[str, str, int], None] = {}
    for run in runs:
        if checkpoint := registry.load("methods", run.cell.method).translator(run.settings):
            lengths[checkpoint, run.cell.task, run.settings["max_length"]] = None
    for checkpoint, task, length in lengths:
        if not is_local(checkpoint):
            continue
        found.add(folder_problems(local_path(checkpoint), "mt_model"))
        config = _config(checkpoint)
        limit = positions_of(config)
        if config.get("model_type") not in _COMPUTED and limit is not None and length > limit:
            got = f"{length} tokens for {task} on {checkpoint} (mt_model), which has positions for {limit}"
            found.add([Problem("training.max_length", got, f"at most {limit}")])


def _check_translation(machine: Translation, found: Findings) -> None:
    checkpoint = translator(machine.model)
    limit = _KNOWN.get(checkpoint.partition("@")[0])
    if is_local(checkpoint):
        found.add(folder_problems(local_path(checkpoint), "translation.model"))
        positions = _config(checkpoint).get("max_position_embeddings")
        limit = positions if type(positions) is int else None
    most = limit - 2 if limit else None  # the start token and the language code have one each
    if most is not None and machine.max_length is not None and machine.max_length > most:
        got = f"{machine.max_length} tokens on {checkpoint}, which has positions for {limit}"
        found.add([Problem("translation.max_length", got, f"at most {most}")])


def _config(checkpoint: str) -> dict[str, Any]:
    try:
        return read_config(local_path(checkpoint))
    except ValueError:
        return {}  # reported with the sweep
