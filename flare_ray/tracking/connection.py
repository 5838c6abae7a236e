"""One MLflow, as this package uses it: whole views in, what is there out. The only module that imports mlflow.

Requests are not repeated in here: an answer that was lost leaves open what has happened, and only the writer knows
how to look (writer.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flare_ray.errors import Problem, refusal
from flare_ray.proxy import bypass_proxy_for_loopback
from flare_ray.tracking import database
from flare_ray.tracking.artifacts import Files, files_of, link_all
from flare_ray.tracking.bulk import Bulk, Whole
from flare_ray.tracking.contents import CONTENTS, contents_of
from flare_ray.tracking.database_check import database_problems, sqlite_file
from flare_ray.tracking.failures import NotWritten
from flare_ray.tracking.relocation import (
    experiment_folder,
    local_path,
    relocate,
    run_folder,
    set_experiment_folder,
    set_run_folder,
)
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
_FIXED = {"MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
"""A run may only be FINISHED when all of it is there."""
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the URL may have credentials
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Connection:
    """A tracking server, or a database. Made lazily by the first call: importing mlflow takes seconds.

    artifacts: the address of the folder in which a database's runs keep their artifacts; a server knows its own
    place. Without it a database is only read.
    """

    def __init__(self, uri: str, artifacts: str | None = None):
        self.uri, self.artifacts = uri, local_path(artifacts) if artifacts else None
        self.parallel = 4 if is_server(uri) else 1
        """Runs that may be written side by side: a database file takes one at a time."""
        self._client: MlflowClient | None = None
        self._bulk: Bulk | None = None
        self._inode: int | None = None

    @property
    def client(self) -> MlflowClient:
        """mlflow's own. Raises InputError for a database that cannot be used, Unreachable for a locked one."""
        if self._client is None:
            os.environ.update(_FIXED)
            for name, value in _SETTINGS.items():
                os.environ.setdefault(name, value)
            bypass_proxy_for_loopback(self.uri)
            if not is_server(self.uri) and (problems := self.problems()):
                raise refusal("MLflow", problems)
            import mlflow

            for noisy in ("mlflow.store.db.utils", "alembic"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
            database.ensure(self.uri)
            client = mlflow.MlflowClient(tracking_uri=self.uri)
            if self.artifacts and not is_server(self.uri):
                relocate(self.uri, self.artifacts)
            self._client, self._inode = client, self._inode_now()
        return self._client

    def problems(self) -> list[Problem]:
        """Return what is wrong with a database as it is now; nothing for a server."""
        return [] if is_server(self.uri) else database_problems(self.uri, to_write=bool(self.artifacts))

    def broken(self) -> str | None:
        """Return why a database cannot be used now, and will not be until somebody mends it."""
        return next(
            (
                f"{problem.found}; expected {problem.wanted}"
                for problem in self.problems()
                if not problem.passes
            ),
            None,
        )

    @property
    def replaced(self) -> bool:
        """Whether the database's file is gone, or another one, since the client was made."""
        return self._client is not None and self._inode_now() != self._inode

    def _inode_now(self) -> int | None:
        file = sqlite_file(self.uri)
        return file.stat().st_ino if file and file.exists() else None

    def reset(self) -> None:
        """Forget a database's client: its connections lead to the file as it was."""
        if self._client is None or is_server(self.uri):
            return
        with suppress(AttributeError):  # another MLflow than we know
            self._client._tracking_client.store.engine.dispose()
        self._client = self._bulk = None

    @property
    def bulk(self) -> Bulk | None:
        """The way to write many runs at once, to a database file of our own; None for anything else."""
        if not self.uri.startswith("sqlite:") or not self.artifacts:
            return None
        if self._bulk is None:
            try:
                self._bulk = Bulk(self.client)
            except (AttributeError, ImportError) as error:  # another MLflow than we know
                log.warning("runs are written to MLflow one by one: %s", error)
        return self._bulk

    def write_many(
        self, name: str, experiment: str, works: Sequence[Work], parents: Sequence[Work] = ()
    ) -> None:
        """New runs, whole, all of them or none. Only where there is `bulk`. Raises FileNotFoundError.

        name, experiment: the experiment's name and id.
        """
        assert self.bulk
        assert self.artifacts
        wholes = []
        for run_id, view, tags, folder in (*parents, *works):
            files = files_of(view, folder) if folder else []
            target = run_folder(self.artifacts, name, run_id)
            link_all(files, view, target)
            tags = tags | {CONTENTS: contents_of(view, files).as_tag()}
            wholes.append(Whole(run_id, view, tags, target.as_uri()))
        self.bulk.write(experiment, wholes)

    def experiment(self, name: str, tags: dict[str, str]) -> str:
        """The id of an experiment, which is made, or brought back, where it is not there."""
        from mlflow import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = experiment_folder(self.artifacts, name).as_uri() if self.artifacts else None
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
        if self.artifacts and local_path(found.artifact_location):
            folder = experiment_folder(self.artifacts, name)
            if found.artifact_location != folder.as_uri():
                set_experiment_folder(self.uri, found.experiment_id, folder)
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

    def write(self, name: str, experiment: str, view: View, tags: dict[str, str], folder: Path | None) -> str:
        """A new run, whole: its status says FINISHED or FAILED only when all of it is there. Returns its id.

        name, experiment: the experiment's name and id.
        """
        files = files_of(view, folder) if folder else []
        contents = contents_of(view, files)
        tags = tags | {CONTENTS: contents.as_tag()}
        every = {name: value[:_LONGEST_TAG] for name, value in (view.tags | tags).items()}
        first, rest = dict(list(every.items())[:_TAGS]), dict(list(every.items())[_TAGS:])
        first |= tags
        run = self.client.create_run(
            experiment, start_time=int(1000 * view.started), tags=first, run_name=view.name
        )
        run_id = str(run.info.run_id)
        self.log(run_id, view, rest)
        self._log_inputs(run_id, view)
        self._put(name, run, view, files)
        data = self.client.get_run(run_id).data
        if lacks := contents.missing(data.params, data.metrics, data.tags):
            raise NotWritten(f"MLflow has lost {lacks} of run {run_id}")
        self.close(run_id, view)
        return run_id

    def restore_files(self, name: str, run_id: str, view: View, folder: Path | None) -> None:
        """Put a run's artifacts where they belong once more. name: of its experiment. Raises FileNotFoundError."""
        self._put(name, self.client.get_run(run_id), view, files_of(view, folder) if folder else [])

    def sizes(self, run_id: str, names: Sequence[str]) -> dict[str, int]:
        """Return the artifacts of a run, and of the folders that are among `names`, with their sizes in bytes."""
        folders = ["", *{name.rpartition("/")[0] for name in names if "/" in name}]
        artifacts = [
            artifact for folder in folders for artifact in self.client.list_artifacts(run_id, folder or None)
        ]
        return {artifact.path: int(artifact.file_size or 0) for artifact in artifacts if not artifact.is_dir}

    def complete(self, run_id: str, view: View, tags: dict[str, str]) -> None:
        """Write what a run without files lacks, and end it."""
        tags = view.tags | tags | {CONTENTS: contents_of(view, []).as_tag()}
        self.log(run_id, view, {name: value[:_LONGEST_TAG] for name, value in tags.items()})
        self.close(run_id, view)

    def tag(self, run_id: str, name: str, value: str) -> None:
        """Set a tag of a run."""
        self.client.set_tag(run_id, name, value, synchronous=True)

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
            self.client.log_batch(run_id, metrics[:room], some, few, synchronous=True)
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

    def _put(self, name: str, run: Run, view: View, files: Files) -> None:
        """The artifacts: linked into a folder of this machine, sent to anything else side by side.

        Those of a database lie in the storage that is used now, whatever address MLflow has. name: the experiment's.
        """
        target = local_path(run.info.artifact_uri)
        if target is None:
            self._send(run, view, files)
            return
        if self.artifacts and not is_server(self.uri):
            target = run_folder(self.artifacts, name, run.info.run_id)
            if run.info.artifact_uri != target.as_uri():
                set_run_folder(self.uri, run.info.run_id, target)
        link_all(files, view, target)

    def _send(self, run: Run, view: View, files: Files) -> None:
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
