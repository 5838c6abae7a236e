"""A Tune trial: one stage, trained by a Ray Train worker group of its own, or translated by a Ray Data pool."""

from __future__ import annotations

from typing import Any


def run_stage(config: dict[str, Any]) -> None:
    """The function that Tune runs. config: `stage` (see searcher.py), `storage`, `ray_storage`, `resources`,
    `provenance`.

    Train does not restart a dead worker group here: the board does, without the runs that are finished.
    """
    if config["stage"]["kind"] == "translation":
        from flare_ray.execution.translating import run_translation

        run_translation(config)
        return
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from flare_ray.execution.worker import train_loop

    TorchTrainer(
        train_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=config["resources"]["workers"],
            use_gpu=config["resources"]["gpus_per_worker"] > 0,
            resources_per_worker=worker_resources(config["resources"]),
        ),
        run_config=RunConfig(
            name=config["stage"]["key"],
            storage_path=config["ray_storage"],
            failure_config=FailureConfig(max_failures=0),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]
        ),
    ).fit()


def worker_resources(resources: dict[str, Any]) -> dict[str, float]:
    """What one worker reserves, in Ray's words."""
    wanted = {"CPU": resources["cpus_per_worker"]}
    if resources["gpus_per_worker"]:
        wanted["GPU"] = resources["gpus_per_worker"]
    return wanted
