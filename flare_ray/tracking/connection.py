"""One MLflow, as this package uses it: whole views in, what is there out. The only module that imports mlflow.

Requests are not repeated in here: an answer that was lost leaves open what has happened, and only the writer knows
how to look (writer.py).
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flare_ray.tracking import database
from flare_ray.tracking.bulk import Bulk, Whole
from flare_ray.tracking.uris import is_server
from flare_ray.tracking.views import View

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

log = logging.getLogger(__name__)
Work = tuple[str, View, dict[str, str], Path | None]
"""A run's id, its view, its other tags, and the folder of its record."""
FINGERPRINT, CELL, PARENT = "flare_ray.fingerprint", "flare_ray.cell", "mlflow.parentRunId"
_PARAMS, _METRICS, _TAGS = 100, 1000, 90  # MLflow's limits per request
_ALL = 1000  # parameters, metrics and tags of one request together
_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000
_PAGE = 1000
_UPLOADS = 4
_ATTEMPTS = 5
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the URL may have credentials
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Connection:
    """A tracking server, or a database. Made lazily by the first call: importing mlflow takes seconds.

    artifacts: where experiments that are made here keep their artifacts; a server knows its own place.
    """

    def __init__(self, uri: str, artifacts: str | None = None):
        self.uri, self.artifacts = uri, artifacts
        self.parallel = 4 if is_server(uri) else 1
        """Runs that may be written side by side: a database file takes one at a time."""
        self._client: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        """mlflow's own."""
        if self._client is None:
            for name, value in _SETTINGS.items():
                os.environ.setdefault(name, value)
            import mlflow

            for noisy in ("mlflow.store.db.utils", "alembic"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
            database.ensure(self.uri)
            self._client = mlflow.MlflowClient(tracking_uri=self.uri)
        return self._client

    @cached_property
    def bulk(self) -> Bulk | None:
        """The way to write many runs at once, to a database file of our own; None for anything else."""
        if not self.uri.startswith("sqlite:") or not (self.artifacts or "").startswith("file:"):
            return None
        try:
            return Bulk(self.client)
        except (AttributeError, ImportError) as error:  # another MLflow than we know
            log.warning("runs are written to MLflow one by one: %s", error)
            return None

    def write_many(self, experiment: str, works: Sequence[Work], parents: Sequence[Work] = ()) -> None:
        """New runs, whole, all of them or none. Only where there is `bulk`. Raises FileNotFoundError."""
        assert self.bulk
        wholes = []
        for run_id, view, tags, folder in (*parents, *works):
            files = _files(view, folder) if folder else []
            _link_all(files, view, self.bulk.place(experiment, run_id))
            wholes.append(Whole(run_id, view, tags))
        self.bulk.write(experiment, wholes)

    def experiment(self, name: str, tags: dict[str, str]) -> str:
        """The id of an experiment, which is made, or brought back, where it is not there."""
        from mlflow import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = f"{self.artifacts}/{name.replace('/', '-')}" if self.artifacts else None
            try:
                return str(self.client.create_experiment(name, artifact_location=place, tags=tags))
            except MlflowException:  # another writer was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        for key, value in tags.items():
            if found.tags.get(key) != value:
                self.client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    def runs(self, experiment: str, where: str = "") -> Iterator[Run]:
        """All runs of an experiment that are not deleted; by MLflow's filter, if given."""
        token: str | None = None
        while True:
            page = self.client.search_runs([experiment], where, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def write(self, experiment: str, view: View, tags: dict[str, str], folder: Path | None) -> str:
        """A new run, whole: its status says FINISHED or FAILED only when all of it is there. Returns its id."""
        every = {name: value[:_LONGEST_TAG] for name, value in (view.tags | tags).items()}
        first, rest = dict(list(every.items())[:_TAGS]), dict(list(every.items())[_TAGS:])
        first |= tags
        files = _files(view, folder) if folder else []
        run = self.client.create_run(
            experiment, start_time=int(1000 * view.started), tags=first, run_name=view.name
        )
        run_id = str(run.info.run_id)
        self.log(run_id, view, rest)
        self._log_inputs(run_id, view)
        self._put(run, view, files)
        self.close(run_id, view)
        return run_id

    def log(self, run_id: str, view: View, tags: dict[str, str] | None = None) -> None:
        """Parameters, metrics and tags of a run, in as few requests as MLflow takes."""
        from mlflow.entities import Param, RunTag

        params = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in view.params.items()]
        metrics = _metrics(view)
        marks = [RunTag(name, value) for name, value in (tags or {}).items()]
        while params or metrics or marks:
            some, params = params[:_PARAMS], params[_PARAMS:]
            few, marks = marks[:_TAGS], marks[_TAGS:]
            room = min(_METRICS, _ALL - len(some) - len(few))
            self.client.log_batch(run_id, metrics=metrics[:room], params=some, tags=few)
            metrics = metrics[room:]

    def _log_inputs(self, run_id: str, view: View) -> None:
        """The data sets of a run. MLflow stumbles where two runs name one for the first time at the same moment."""
        for attempt in range(_ATTEMPTS if view.datasets else 0):
            try:
                self.client.log_inputs(run_id, datasets=_inputs(view))
                return
            except Exception as error:
                clash = any(
                    word in str(error) for word in ("UniqueViolation", "IntegrityError", "Duplicate entry")
                )
                if not clash or attempt == _ATTEMPTS - 1:
                    raise

    def close(self, run_id: str, view: View) -> None:
        """Gives a run its end and its status."""
        self.client.set_terminated(run_id, status=view.status, end_time=int(1000 * view.ended))

    def delete(self, run_id: str) -> None:
        """Deletes a run; one that is gone already is as well."""
        from mlflow import MlflowException

        try:
            self.client.delete_run(run_id)
        except MlflowException as error:
            if error.error_code not in (
                "RESOURCE_DOES_NOT_EXIST",
                "INVALID_PARAMETER_VALUE",
                "INVALID_STATE",
            ):
                raise

    def _put(self, run: Run, view: View, files: list[tuple[Path, str]]) -> None:
        """The artifacts: linked into a folder of this machine, sent to anything else side by side."""
        if urlsplit(run.info.artifact_uri).scheme in ("", "file"):
            _link_all(files, view, run.info.artifact_uri)
        else:
            self._send(run, view, files)

    def _send(self, run: Run, view: View, files: list[tuple[Path, str]]) -> None:
        import tempfile

        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.uri)
        with (
            tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch,
            ThreadPoolExecutor(_UPLOADS) as pool,
        ):
            work = [(path, name.rpartition("/")[0] or None) for path, name in files]
            for name, text in view.texts.items():
                (Path(scratch) / name).write_text(text, encoding="utf-8")
                work.append((Path(scratch) / name, None))
            list(pool.map(lambda one: repository.log_artifact(str(one[0]), one[1]), work))


def is_outage(error: BaseException) -> bool:
    """Whether MLflow may be able to do it later: it is away, overloaded, or its database locked."""
    from mlflow import MlflowException

    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MlflowException):
        if error.error_code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR"):
            return True
        return error.get_http_status_code() >= 500 or error.get_http_status_code() in (408, 429)
    return bool(names & {"ConnectionError", "Timeout", "OperationalError", "InterfaceError", "HTTPError"})


def is_refusal(error: BaseException) -> bool:
    """Whether an outage may be of this one request's making: an error inside of MLflow that has no better name."""
    text = str(error)
    return "503" not in text and "TEMPORARILY_UNAVAILABLE" not in text and "429" not in text


def is_gone(error: BaseException) -> bool:
    """Whether a run that was being written has been deleted: another writer had it whole before."""
    text = str(error)
    return (
        "RESOURCE_DOES_NOT_EXIST" in text
        or "must be in the 'active' state" in text
        or "'active' lifecycle" in text
    )


def _files(view: View, folder: Path) -> list[tuple[Path, str]]:
    """A view's files and their names as artifacts. Raises FileNotFoundError."""
    found = [(folder / name, name) for name in view.extras if (folder / name).is_file()]
    for name in view.files:
        inside = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        for path in inside if name.endswith("/") else [folder / name]:
            if not path.is_file():
                raise FileNotFoundError(f"{path} is not there")
            found.append((path, path.relative_to(folder).as_posix()))
    return found


def _metrics(view: View) -> list[Metric]:
    from mlflow.entities import Metric

    end = int(1000 * view.ended)
    return [Metric(name, value, end, step) for name, value, step in view.metrics]


def _inputs(view: View) -> list[DatasetInput]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(one.name, one.digest, "flare_ray", one.source, profile=one.profile),
            [InputTag("mlflow.data.context", one.context)],
        )
        for one in view.datasets
    ]


def _link_all(files: Sequence[tuple[Path, str]], view: View, place: str) -> None:
    """A run's artifacts in a folder, by its URI."""
    target = Path(unquote(urlsplit(place).path))
    for path, name in files:
        _link(path, target / name)
    for name, text in view.texts.items():
        target.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, encoding="utf-8")


def _link(file: Path, target: Path) -> None:
    """The same file under a second name, where the file system can; records are never written again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def facts(run: Any) -> tuple[str, str, dict[str, str], dict[str, float]]:
    """A run's id, status, tags and newest metrics."""
    return str(run.info.run_id), str(run.info.status), dict(run.data.tags), dict(run.data.metrics)
