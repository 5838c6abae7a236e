"""The driver: stages onto Ray, through Tune, until the board is empty.

Tune schedules and is disposable: what is finished is in the store, and a new start plans anew from it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flare_ray.execution.board import Board
from flare_ray.execution.outcomes import OnEvent, Outcomes
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import Stages
from flare_ray.store import Store


class Interrupted(RuntimeError):
    """The sweep was stopped from outside (Ctrl-C); what is finished is kept."""


def execute(
    stages: Stages,
    store: Store,
    resources: Resources,
    provenance: dict[str, Any],
    max_concurrent: int,
    on_event: OnEvent,
) -> None:
    """Runs every stage. Needs a Ray to be joined (`cluster.connect`) first. Raises Interrupted.

    on_event: called in this process for every run or base model that starts, finishes or fails, with `event`,
    `kind` ("base" | "run"), `fingerprint`, `label`, `trial`, and what the event brings (seconds, metrics, error).
    """
    corpora = [corpus for work in stages.translations for corpus in work.corpora]
    for work in (*corpora, *stages.bases, *stages.todo):
        store.forget_failure(work.fingerprint)
    board = Board.of(stages, Outcomes(store, provenance, on_event), resources.max_attempts)
    shared = {
        "storage": store.url,
        "ray_storage": _ray_storage(store),
        "resources": resources.model_dump(),
        "provenance": provenance,
    }
    _tuner(board, max_concurrent, shared, on_event).fit()
    if not board.done:
        raise Interrupted("stopped before everything was done; the same command goes on from here")


def _tuner(board: Board, max_concurrent: int, shared: dict[str, Any], on_event: OnEvent) -> Any:
    from ray import tune

    from flare_ray.execution.events import Events
    from flare_ray.execution.searcher import StageSearcher
    from flare_ray.execution.trial import run_stage

    searcher = StageSearcher(board, max_concurrent, shared)
    return tune.Tuner(
        # Tune wants every trial to reserve something. A share of a CPU, however small, would cost a whole worker
        # its place on a machine that the workers fill; what the trial uses itself is a little memory.
        tune.with_resources(run_stage, {"memory": 100 * 2**20}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            trial_name_creator=lambda trial: trial.config["stage"]["key"],
            trial_dirname_creator=lambda trial: trial.config["stage"]["key"],
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=shared["ray_storage"],
            callbacks=[Events(searcher, on_event)],
            verbose=0,
        ),
    )


def _ray_storage(store: Store) -> str:
    """Where Tune and Train keep their own files, of use only to whoever looks for the cause of a failure."""
    name = time.strftime("ray/%Y-%m-%d_%H-%M-%S")
    if store.local:
        return str(Path(store.root) / name)
    return f"{store.url.rstrip('/')}/{name}"
