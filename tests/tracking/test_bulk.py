"""Runs written many at once look in MLflow like runs written by its client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from flare_ray.recording import Recording
from flare_ray.study import Study
from flare_ray.tracking.connection import Connection
from tests.small_study import write_study, write_sweep
from tests.tracking.finished import fail, finish


def study_of(place: Path, name: str, uri: str) -> Study:
    fields = write_study(place) | {"methods": ["lora"], "languages": ["ace"], "name": name, "seeds": [1, 2]}
    study = Study.open(write_sweep(place / "sweep.yaml", fields | {"tracking": {"uri": uri}}))
    for run in study.grid.runs[:-1]:
        finish(study.store, run, place)
    fail(study.store, study.grid.runs[-1])
    return study


def seen(client: mlflow.MlflowClient, name: str) -> dict[str, Any]:
    """All that MLflow tells of a sweep's runs, but what differs from one writing to the next."""
    experiment = client.get_experiment_by_name(f"{name}/nusax")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        changing = ("mlflow.parentRunId", "flare_ray.writer", "sweep")
        tags = {key: value for key, value in run.data.tags.items() if key not in changing}
        info = {
            key: value for key, value in dict(run.info).items() if key in ("status", "start_time", "end_time")
        }
        curve = client.get_metric_history(run.info.run_id, "train_loss")
        found[run.info.run_name, run.data.params.get("seed")] = {
            "info": info | {"user": run.info.user_id, "stage": run.info.lifecycle_stage},
            "tags": tags,
            "params": run.data.params,
            "metrics": run.data.metrics,
            "curve": sorted((point.step, point.value) for point in curve),
            "inputs": sorted(
                (str(dict(one.dataset)), str([(tag.key, tag.value) for tag in one.tags]))
                for one in run.inputs.dataset_inputs
            ),
            "artifacts": sorted(one.path for one in client.list_artifacts(run.info.run_id)),
            "parent": bool(run.data.tags.get("mlflow.parentRunId")),
        }
    return found


def test_in_bulk_and_one_by_one_is_the_same(
    tmp_path: Path, uri: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, file = [], study_of(tmp_path, "in-bulk", uri).file
    for name in ("in-bulk", "one-by-one"):
        study = Study.open(file, [f"name={name}"])
        if name == "one-by-one":
            monkeypatch.setattr(Connection, "bulk", None)
        with Recording(study) as recording:
            recording.everything()
        assert recording.writer.errors == []
        assert recording.writer.written == 4
        found.append(seen(client, name))
    bulk, single = found
    assert len(bulk) == 4 + 2
    assert bulk == single


def test_tables_that_are_not_as_expected_are_left_to_the_client(
    tmp_path: Path, uri: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise KeyError("a column that nobody knew")

    monkeypatch.setattr("flare_ray.tracking.bulk.Bulk.write", refuse)
    study = study_of(tmp_path, "other-tables", uri)
    with Recording(study) as recording:
        recording.everything()
    assert recording.writer.errors == []
    assert len(seen(client, "other-tables")) == 6
