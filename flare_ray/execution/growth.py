"""How far a cluster may grow, which Ray's autoscalers know and do not tell.

Asked in this order: the environment (`FLARE_RAY_CLUSTER_MAX`, JSON: what manifests say beside their node groups), the
autoscaler's configuration when it runs on this machine (the head, where `ray job submit` starts drivers), and Ray,
which on some platforms has been told.

    FLARE_RAY_CLUSTER_MAX='{"CPU": 512, "GPU": 64, "accelerator_type:A100": 64}'
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem

VARIABLE = "FLARE_RAY_CLUSTER_MAX"
_OPTION = "--autoscaling-config="


def most() -> dict[str, float]:
    """Resources of the largest cluster there may be, its head not counted; nothing where nobody says.

    Raises InputError for a variable that is no JSON object of numbers.
    """
    if declared := os.environ.get(VARIABLE):
        return _declared(declared)
    if config := _configuration():
        return of_config(config)
    from ray._private.state import state

    told = state.get_max_resources_from_cluster_config() or {}
    return {kind: float(amount) for kind, amount in told.items()}


def types() -> list[dict[str, float]] | None:
    """Resources of one node of each kind that may be added; None where only the whole is known (see `most`)."""
    if os.environ.get(VARIABLE):
        return None
    if config := _configuration():
        return types_of(config)
    from ray._private.state import state

    return None if state.get_max_resources_from_cluster_config() else []


def types_of(config: Mapping[str, Any]) -> list[dict[str, float]]:
    """Of an autoscaler's configuration: one node of each group but the head's, which is there."""
    groups = config.get("available_node_types", {})
    added = [group for name, group in groups.items() if name != config.get("head_node_type")]
    return [{kind: float(amount) for kind, amount in group.get("resources", {}).items()} for group in added]


def of_config(config: Mapping[str, Any]) -> dict[str, float]:
    """Of an autoscaler's configuration: of each resource, what the nodes have that have most of it."""
    limit = int(config.get("max_workers", 2))  # Ray's default
    holders: dict[str, list[tuple[float, int]]] = {}
    for name, group in config.get("available_node_types", {}).items():
        if name != config.get("head_node_type"):
            nodes = int(group.get("max_workers", limit))
            for kind, amount in group.get("resources", {}).items():
                holders.setdefault(kind, []).append((float(amount), nodes))
    return {kind: _most_of(groups, limit) for kind, groups in holders.items()}


def _most_of(groups: list[tuple[float, int]], limit: int) -> float:
    """groups: (amount on a node, nodes). At most `limit` nodes in all."""
    total = 0.0
    for amount, nodes in sorted(groups, reverse=True):
        taken = min(nodes, limit)
        total += taken * amount
        limit -= taken
    return total


def _declared(text: str) -> dict[str, float]:
    try:
        return {str(kind): float(amount) for kind, amount in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        wanted = """a JSON object of amounts, like {"CPU": 512, "GPU": 64}"""
        raise InputError(VARIABLE, [Problem(VARIABLE, repr(text), wanted)]) from error


def _configuration() -> dict[str, Any] | None:
    """What the autoscaler of this machine was started with."""
    import psutil
    import ray
    import yaml

    address = ray.get_runtime_context().gcs_address
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        file = next((word.removeprefix(_OPTION) for word in words if word.startswith(_OPTION)), None)
        if file and f"--gcs-address={address}" in words and Path(file).is_file():
            config = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            return config if isinstance(config, dict) else None
    return None
