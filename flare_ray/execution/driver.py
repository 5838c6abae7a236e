"""The driver: stages onto Ray, through Tune, until the board is empty.

Tune schedules and is disposable: what is finished is in the store, and a new start plans anew from it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.execution.board import Board
from flare_ray.execution.store import Store
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import Stages

OnEvent = Callable[[dict[str, Any]], None]


class Interrupted(RuntimeError):
    """The sweep was stopped from outside (Ctrl-C); what is finished is kept."""


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


def execute(
    stages: Stages,
    store: Store,
    resources: Resources,
    provenance: dict[str, Any],
    max_concurrent: int,
    on_event: OnEvent,
) -> None:
    """Runs every stage. Needs `connect` first. Raises Interrupted.

    on_event: called in this process for every run or base model that starts, finishes or fails, with `event`,
    `kind` ("base" | "run"), `fingerprint`, `label`, `trial`, and what the event brings (seconds, metrics, error).
    """
    from ray import tune

    from flare_ray.execution.events import Events
    from flare_ray.execution.searcher import StageSearcher

    for fingerprint in [
        *(base.fingerprint for base in stages.bases),
        *(run.fingerprint for run in stages.todo),
    ]:
        store.forget_failure(fingerprint)

    def settled(work: Run | Base) -> bool:
        kind = "bases" if isinstance(work, Base) else "runs"
        return store.has(kind, work.fingerprint) or store.failure(work.fingerprint) is not None

    def on_failure(work: Run | Base, error: str) -> None:
        store.write_failure(
            work.fingerprint,
            {
                "fingerprint": work.fingerprint,
                "label": work.label,
                "error": error,
                "provenance": provenance,
                "at": time.time(),
            },
        )
        on_event(_event("failed", work, {"error": error}))

    def reason(base: Base) -> str | None:
        return (store.failure(base.fingerprint) or {}).get("error")

    board = Board.of(
        stages, settled=settled, reason=reason, on_failure=on_failure, max_attempts=resources.max_attempts
    )
    ray_storage = _ray_storage(store)
    shared = {
        "storage": store.url,
        "ray_storage": ray_storage,
        "resources": resources.model_dump(),
        "provenance": provenance,
    }
    searcher = StageSearcher(board, max_concurrent, shared)
    tune.Tuner(
        _trainable(),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            trial_name_creator=lambda trial: trial.config["stage"]["key"],
            trial_dirname_creator=lambda trial: trial.config["stage"]["key"],
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=ray_storage,
            callbacks=[Events(searcher, on_event)],
            verbose=0,
        ),
    ).fit()
    if not board.done:
        raise Interrupted("stopped before everything was done; the same command goes on from here")


def _trainable() -> Any:
    from ray import tune

    from flare_ray.execution.trial import run_stage

    # Tune wants every trial to reserve something. A share of a CPU, however small, would cost a whole worker its
    # place on a machine that the workers fill; what the trial uses itself is a little memory.
    return tune.with_resources(run_stage, {"memory": 100 * 2**20})


def _ray_storage(store: Store) -> str:
    """Where Tune and Train keep their own files, of use only to whoever looks for the cause of a failure."""
    name = time.strftime("ray/%Y-%m-%d_%H-%M-%S")
    if store.local:
        return str(Path(store.root) / name)
    return f"{store.url.rstrip('/')}/{name}"


def _event(event: str, work: Run | Base, facts: dict[str, Any]) -> dict[str, Any]:
    kind = "base" if isinstance(work, Base) else "run"
    return {"event": event, "kind": kind, "fingerprint": work.fingerprint, "label": work.label, **facts}
