"""The Ray cluster: whether it is there, joining or starting one, what it can have."""

from __future__ import annotations

import os
import socket
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.execution.growth import most, types
from flare_ray.execution.loopback import only_here


def connect() -> dict[str, float]:
    """Joins the cluster that RAY_ADDRESS names, or starts a local Ray; returns what it can have (`can_have`).

    Raises InputError when there is no cluster at RAY_ADDRESS, or it is no address.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables: the progress panel stands for them
    import ray

    address = os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address:
            ray.init(address=address, ignore_reinit_error=True, **quiet)
        else:
            only_here()
            # One machine is not preempted, and its reports need not wait for a cluster's polling interval.
            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
            os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, ValueError) as error:  # none is there; that is no address
        wanted = "the address of a running cluster, or no RAY_ADDRESS to start a local one"
        raise InputError("Ray", [Problem("RAY_ADDRESS", f"{address!r}: {error}", wanted)]) from error
    return can_have()


def can_have() -> dict[str, float]:
    """Resources of the cluster: of its nodes now or, where it scales by itself, of all it may grow to (growth.py).

    Raises InputError.
    """
    import ray

    have = {kind: float(amount) for kind, amount in ray.cluster_resources().items()}
    return have | {kind: max(amount, have.get(kind, 0.0)) for kind, amount in most().items()}


def nodes() -> list[dict[str, float]] | None:
    """Resources of each node that is there, and of one of each kind that may come; None where nobody knows these."""
    import ray

    coming = types()
    if coming is None:
        return None
    return [node["Resources"] for node in ray.nodes() if node["Alive"]] + coming


def cluster_problems() -> list[Problem]:
    """What is wrong with RAY_ADDRESS, asked in seconds: Ray itself waits for a minute and prints for another."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return []
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        wanted = "the address of a running cluster, or no RAY_ADDRESS to start a local one"
        return [Problem("RAY_ADDRESS", f"{address!r}, which does not answer: {error}", wanted)]
    return []
