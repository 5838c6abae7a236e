"""MLflow, the view of the store that people compare results in. One writer, in the driver, on its own thread.

Every record becomes exactly one MLflow run, known by its fingerprint, in the experiment `<sweep>/<task>`: before
writing, the writer looks up which fingerprints are there; one that a killed writer left half written is replaced.
"""

from __future__ import annotations

import http.client
import logging
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray.errors import Problem
from flare_ray.tracking.views import View, run_view

if TYPE_CHECKING:
    from mlflow import MlflowClient

FINGERPRINT = "flare_ray.fingerprint"
_PARAMS_PER_BATCH, _METRICS_PER_BATCH = 100, 1000  # MLflow's limits per request

Load = Callable[[], tuple[Mapping[str, Any], Path]]
"""Gives a record and the folder with its files."""
MakeView = Callable[[Mapping[str, Any]], View]


def unreachable(uri: str) -> list[Problem]:
    """What is wrong with a tracking server; asks it over HTTP, without importing mlflow."""
    if not uri.startswith(("http://", "https://")):
        return []
    wanted = "a running MLflow server, or nothing for a sqlite file in the storage folder"
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):  # it is there; credentials and old servers are mlflow's business
            return []
        return [Problem("tracking.uri", f"{uri!r}, which answers {error.code} {error.reason}", wanted)]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return [Problem("tracking.uri", f"{uri!r}, which does not answer: {error}", wanted)]
    return []


class Writer:
    """Writes records to MLflow in the order they come, without making the caller wait.

    uri: tracking URI. artifacts: where a sqlite tracking keeps its artifacts (a server knows its own place).
    `errors` holds what went wrong; the store has the records all the same.
    """

    def __init__(self, uri: str, sweep: str, artifacts: str | None = None):
        self.uri, self.sweep, self.artifacts = uri, sweep, artifacts
        self.written = 0
        self.errors: list[str] = []
        self._known: dict[str, dict[str, str]] = {}
        self._experiments: dict[str, str] = {}
        self._queue: queue.Queue[tuple[str, str, Load, MakeView] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def submit(self, task: str, fingerprint: str, load: Load, view: MakeView = run_view) -> None:
        """Hands over a record; returns at once. It is loaded only if MLflow does not have it yet."""
        self._queue.put((task, fingerprint, load, view))

    def close(self) -> None:
        """Waits until everything handed over is written."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        client: MlflowClient | None = None
        while (item := self._queue.get()) is not None:
            try:
                client = client or _client(self.uri)
                self._write(client, *item)
            except Exception as error:  # the view must not take the sweep with it
                self.errors.append(f"{item[1]}: {type(error).__name__}: {error}")

    def _write(
        self, client: MlflowClient, task: str, fingerprint: str, load: Load, make_view: MakeView
    ) -> None:
        from mlflow.entities import Metric, Param

        experiment = self._experiment(client, task)
        if fingerprint in self._known[experiment]:
            return
        record, folder = load()
        view, end = make_view(record), int(1000 * record["ended"])
        run = client.create_run(
            experiment,
            start_time=int(1000 * record["started"]),
            tags={FINGERPRINT: fingerprint, "sweep": self.sweep, **view.tags},
            run_name=record["label"],
        )
        run_id = run.info.run_id
        params = [Param(name, str(value)[:6000]) for name, value in view.params.items()]
        for start in range(0, len(params), _PARAMS_PER_BATCH):
            client.log_batch(run_id, params=params[start : start + _PARAMS_PER_BATCH])
        metrics = [Metric(name, value, end, step) for name, value, step in view.metrics]
        for start in range(0, len(metrics), _METRICS_PER_BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_BATCH])
        for file in view.files:
            client.log_artifact(run_id, str(folder / file))
        client.set_terminated(run_id, status="FINISHED", end_time=end)
        self._known[experiment][fingerprint] = run_id
        self.written += 1

    def _experiment(self, client: MlflowClient, task: str) -> str:
        """The experiment of a task; looks up once which fingerprints it has."""
        name = f"{self.sweep}/{task}"
        if name not in self._experiments:
            found = client.get_experiment_by_name(name)
            place = f"{self.artifacts}/{self.sweep}-{task}" if self.artifacts else None
            experiment = (
                found.experiment_id if found else client.create_experiment(name, artifact_location=place)
            )
            self._known[experiment] = _finished_runs(client, experiment)
            self._experiments[name] = experiment
        return self._experiments[name]


def _client(uri: str) -> MlflowClient:
    import mlflow

    for noisy in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return mlflow.MlflowClient(tracking_uri=uri)


def _finished_runs(client: MlflowClient, experiment: str) -> dict[str, str]:
    """Fingerprint -> run id of whole runs; half-written ones are deleted on the way."""
    known: dict[str, str] = {}
    half_written: list[str] = []  # deleted at the end: a deletion would shift the pages still to come
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            fingerprint = run.data.tags.get(FINGERPRINT)
            if fingerprint is None:
                continue
            if run.info.status == "FINISHED" and fingerprint not in known:
                known[fingerprint] = run.info.run_id
            else:
                half_written.append(run.info.run_id)
        token = page.token
        if not token:
            break
    for run_id in half_written:
        client.delete_run(run_id)
    return known
