"""A Tune trial: a Ray Train worker group that trains one stage after another, or a Ray Data pool that translates."""

from __future__ import annotations

import os
from typing import Any

from flare_ray.execution.capacity import worker_needs
from flare_ray.execution.processes import prepare
from flare_ray.plan.schema import Resources
from flare_ray.redaction import redacted


def run_stage(config: dict[str, Any]) -> None:
    """The function that Tune runs. config: `stage` (see searcher.py), `storage`, `ray_storage`, `resources`,
    `provenance`, `desk` (see desk.py), `offline` (see prefetch.py), `store` (its id), `umask` (see umask.py).

    A worker group that is done with its stage asks the driver for another one; the trial ends when there is none.

    Train does not restart a worker group that died or lost its node: it would begin again with its first stage. The
    board starts another one, without the runs that are finished.
    """
    prepare(config.get("umask"))
    if config["stage"]["kind"] == "translation":
        from flare_ray.execution.prefetch import read_from

        read_from(config["storage"], config.get("offline", False), config.get("store"))
        from flare_ray.execution.translating import run_translation

        run_translation(config)
        return
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from flare_ray.execution.ray_files import run_storage
    from flare_ray.execution.rendezvous import torch_config

    os.environ.setdefault(
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1"
    )  # as often are reports brought to the driver
    resources = Resources(**config["resources"])
    TorchTrainer(
        _train_loop,
        train_loop_config=config,
        torch_config=torch_config(),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=worker_needs(resources),
        ),
        run_config=RunConfig(
            name=config["stage"]["key"],
            **run_storage(config["ray_storage"]),
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # type: ignore[call-arg]
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]
        ),
    ).fit()


def _train_loop(config: dict[str, Any]) -> None:
    """Imports what trains only where it trains: the trial and Train's controller need seconds less to start."""
    from flare_ray.execution.prefetch import read_from

    prepare(config.get("umask"))
    read_from(config["storage"], config.get("offline", False), config.get("store"))
    from flare_ray.execution.worker import train_loop

    try:
        train_loop(config)
    except Exception as error:  # Ray keeps the text of what ends a trial
        said = f"{type(error).__name__}: {error}"
        if redacted(said) == said:
            raise
        raise RuntimeError(redacted(said)) from None
