"""The Ray cluster: whether it is there, joining or starting one, how many trials fit it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.plan.schema import Resources


def connect() -> dict[str, float]:
    """Joins the cluster that RAY_ADDRESS names, or starts a local Ray; returns its resources.

    Raises InputError when there is no cluster at RAY_ADDRESS.
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
            # One machine is not preempted, and its reports need not wait for a cluster's polling interval.
            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
            os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
            ray.init(address="local", include_dashboard=False, **quiet)
    except ConnectionError as error:
        wanted = "the address of a running cluster, or no RAY_ADDRESS to start a local one"
        raise InputError("Ray", [Problem("RAY_ADDRESS", f"{address!r}: {error}", wanted)]) from error
    return ray.cluster_resources()


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


def translator_gpus(resources: Resources) -> float:
    """GPUs of one translator."""
    given = resources.gpus_per_translator
    return float(min(1, resources.gpus_per_worker) if given is None else given)


def translators(resources: Resources, cluster: Mapping[str, float]) -> int:
    """How many translators fit the cluster at once. Raises InputError when not even one does."""
    wanted = {"CPU": resources.cpus_per_translator, "GPU": translator_gpus(resources)}
    wanted = {kind: amount for kind, amount in wanted.items() if amount}
    fits = min(int(cluster.get(kind, 0) // amount) for kind, amount in wanted.items())
    if fits < 1:
        has = ", ".join(f"{cluster.get(kind, 0):g} {kind}" for kind in wanted)
        needs = ", ".join(f"{amount:g} {kind}" for kind, amount in wanted.items())
        found = f"a translator that needs {needs}, on a cluster with {has}"
        raise InputError(
            "resources", [Problem("resources", found, "what the cluster can give one translator")]
        )
    return min(fits, resources.translators or fits)


def concurrency(resources: Resources, cluster: Mapping[str, float]) -> int:
    """How many trials fit the cluster at once. Raises InputError when not even one does."""
    wanted = {"CPU": resources.workers * resources.cpus_per_worker}
    if resources.gpus_per_worker:
        wanted["GPU"] = resources.workers * resources.gpus_per_worker
    fits = min(int(cluster.get(kind, 0) // amount) for kind, amount in wanted.items())
    if fits < 1:
        has = ", ".join(f"{cluster.get(kind, 0):g} {kind}" for kind in wanted)
        needs = ", ".join(f"{amount:g} {kind}" for kind, amount in wanted.items())
        found = f"{resources.workers} workers that need {needs} in all, on a cluster with {has}"
        raise InputError("resources", [Problem("resources", found, "what the cluster can give one trial")])
    return min(fits, resources.max_concurrent or fits)
