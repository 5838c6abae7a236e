"""Many MLflow runs in one transaction, into a database file of our own.

MLflow's client takes some twenty statements and eight commits for a run. A file on this machine takes the rows of
many runs at once, in MLflow's own tables: many times as fast, and a batch is there whole or not at all. A server is
never written to like this. Where MLflow's tables are not as expected, the writer uses the client.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flare_ray.tracking.views import View

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_PARAM, _LONGEST_TAG, _LONGEST_NAME = 6000, 5000, 250
_LARGEST = 1.7976931348623157e308
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Whole:
    """A run to be written: all of its tags, and the address of its artifacts."""

    run_id: str
    view: View
    tags: dict[str, str]
    artifacts: str


class Bulk:
    """A database file behind an MLflow client."""

    def __init__(self, client: MlflowClient):
        self._store: Any = client._tracking_client.store
        from mlflow.store.tracking.dbmodels import models

        names = ("Run", "Tag", "Param", "Metric", "LatestMetric", "Dataset", "Input", "InputTag")
        self._tables = {name: getattr(models, f"Sql{name}").__table__ for name in names}

    def write(self, experiment: str, wholes: Sequence[Whole]) -> None:
        """Writes runs, whose artifacts are there already."""
        rows: Rows = {name: [] for name in self._tables}
        for one in wholes:
            rows["Run"].append(_run(one, int(experiment)))
            tags = one.view.tags | one.tags | {"mlflow.runName": one.view.name}
            pairs = ((name, str(value)[:_LONGEST_TAG]) for name, value in tags.items())
            rows["Tag"] += [{"run_uuid": one.run_id, "key": name, "value": value} for name, value in pairs]
            values = ((name, str(value)[:_LONGEST_PARAM]) for name, value in one.view.params.items())
            rows["Param"] += [{"run_uuid": one.run_id, "key": name, "value": value} for name, value in values]
            _metrics(rows, one.run_id, one.view)
        with self._store.ManagedSessionMaker(read_only=False) as session:
            self._datasets(session, rows, int(experiment), wholes)
            for name, some in rows.items():
                if some:
                    session.execute(self._tables[name].insert(), some)

    def log(self, views: dict[str, View]) -> None:
        """Metrics of runs that are there: each metric once more, and all of the newest ones. views: by run id."""
        rows: Rows = {"Metric": [], "LatestMetric": []}
        for run_id, view in views.items():
            _metrics(rows, run_id, view)
        newest, metrics = self._tables["LatestMetric"], self._tables["Metric"]
        with self._store.ManagedSessionMaker(read_only=False) as session:
            for run_id in views:
                session.execute(newest.delete().where(newest.c.run_uuid == run_id))
            if rows["Metric"]:
                session.execute(metrics.insert().prefix_with("OR IGNORE"), rows["Metric"])
                session.execute(newest.insert(), rows["LatestMetric"])

    def _datasets(self, session: Any, rows: Rows, experiment: int, wholes: Sequence[Whole]) -> None:
        """The data sets of runs: each once in an experiment, by name and digest."""
        table = self._tables["Dataset"]
        there = session.execute(
            table.select()
            .where(table.c.experiment_id == experiment)
            .with_only_columns(table.c.name, table.c.digest, table.c.dataset_uuid)
        )
        known = {(name, digest): key for name, digest, key in there}
        for one in wholes:
            for data in one.view.datasets:
                key = (data.name, data.digest)
                if key not in known:
                    known[key] = uuid.uuid4().hex
                    rows["Dataset"].append(
                        {
                            "dataset_uuid": known[key],
                            "experiment_id": experiment,
                            "name": data.name,
                            "digest": data.digest,
                            "dataset_source_type": "flare_ray",
                            "dataset_source": data.source,
                            "dataset_schema": None,
                            "dataset_profile": data.profile,
                        }
                    )
                edge = uuid.uuid4().hex
                rows["Input"].append(
                    {
                        "input_uuid": edge,
                        "source_type": "DATASET",
                        "source_id": known[key],
                        "destination_type": "RUN",
                        "destination_id": one.run_id,
                        "step": 0,
                    }
                )
                context = {"name": "mlflow.data.context", "value": data.context}
                rows["InputTag"].append({"input_uuid": edge, **context})


def _run(one: Whole, experiment: int) -> dict[str, Any]:
    return {
        "run_uuid": one.run_id,
        "name": one.view.name[:_LONGEST_NAME],
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": "unknown",
        "status": one.view.status,
        "start_time": int(1000 * one.view.started),
        "end_time": int(1000 * one.view.ended),
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": one.artifacts,
        "experiment_id": experiment,
    }


def _metrics(rows: Rows, run_id: str, view: View) -> None:
    """Every value of a run's metrics, and of each the one at its last step."""
    at, seen = int(1000 * view.ended), set()
    newest: dict[str, dict[str, Any]] = {}
    for name, value, step in view.metrics:
        nan = math.isnan(value)
        stored = 0.0 if nan else max(-_LARGEST, min(_LARGEST, value))
        if (name, step, stored, nan) in seen:
            continue
        seen.add((name, step, stored, nan))
        row = {"run_uuid": run_id, "key": name, "value": stored, "timestamp": at, "step": step, "is_nan": nan}
        rows["Metric"].append(row)
        if name not in newest or (step, stored) >= (newest[name]["step"], newest[name]["value"]):
            newest[name] = row
    rows["LatestMetric"] += newest.values()
