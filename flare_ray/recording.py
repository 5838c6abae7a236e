"""A study's work on its way from the store to MLflow: each run and translated split, as it ends or all of them.

with Recording(study) as recording:
    recording.everything()
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from flare_ray import registry
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.plan.grid import Run
from flare_ray.plan.wire import run_facts
from flare_ray.study import Study
from flare_ray.tracking.layout import experiment_tags
from flare_ray.tracking.uris import is_server
from flare_ray.tracking.views import corpus_view, failure_view, run_view
from flare_ray.tracking.writer import Writer

TRANSLATION = "translation"
"""The experiment of translated splits."""


class Recording:
    """What hands a study's work to MLflow's writer. Work is named here, and read when the writer comes to it.

    patience: see Writer. uri, artifacts: another MLflow than the study's. count: how much was handed over.
    """

    def __init__(
        self, study: Study, patience: float = 60.0, uri: str | None = None, artifacts: Path | None = None
    ):
        self.study, self.store, self.count = study, study.store, 0
        uri, place = uri or study.tracking_uri, None
        if not is_server(uri):
            folder = (artifacts or study.tracking_folder / "mlflow-artifacts").absolute()
            with suppress(OSError):  # the writer reports what it cannot write, and the work goes on
                folder.mkdir(parents=True, exist_ok=True)
            place = folder.as_uri()
        self.writer = Writer(uri, study.sweep.name, place, self._tags, patience)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def everything(self) -> None:
        """All that the store has of the study: runs of the grid and of searches, failures, translated splits."""
        finished = self.store.finished("runs")
        failed = {name.removesuffix(".json") for name in self.store.names("failures")} - finished
        for run in self.runs:
            if run.fingerprint in finished:
                self.run(run)
            elif run.fingerprint in failed:
                self.failure(run)
        for corpus in self.study.finished_corpora():
            self.corpus(corpus.fingerprint)

    @cached_property
    def runs(self) -> list[Run]:
        """The grid's, those that searches have selected, and those that they have tried."""
        every = [*self.study.runs(), *self._tried()]
        return list({run.fingerprint: run for run in every}.values())

    def run(self, run: Run) -> None:
        """A finished run."""

        def load() -> tuple[dict[str, Any], Path]:
            record = self.store.record("runs", run.fingerprint)
            return self._with_diff(record), self.store.folder("runs", run.fingerprint)

        self.count += 1
        self.writer.submit(run.cell.task, run.fingerprint, load, run_view, cell_key(run))

    def failure(self, run: Run) -> None:
        """A run that failed, as long as what is written about it holds."""
        written = self.store.failure(run.fingerprint)
        if written is None:
            return

        def load() -> tuple[dict[str, Any], None] | None:
            failure = self.store.failure(run.fingerprint)
            return (run_facts(run) | {"failure": failure}, None) if failure else None

        self.count += 1
        at = float(written.get("at", 0.0))
        self.writer.submit(run.cell.task, run.fingerprint, load, failure_view, cell_key(run), at)

    def corpus(self, fingerprint: str) -> None:
        """A translated split."""

        def load() -> tuple[dict[str, Any], Path]:
            return self.store.record("corpora", fingerprint), self.store.folder("corpora", fingerprint)

        self.count += 1
        self.writer.submit(TRANSLATION, fingerprint, load, corpus_view)

    def _tags(self, task: str) -> dict[str, str]:
        metric = None if task == TRANSLATION else registry.load("tasks", task).metric
        return experiment_tags(self.study.sweep.name, task, metric)

    def _tried(self) -> Iterator[Run]:
        """Runs of the configurations that searches have proposed, by their journals."""
        for one in self.study.searches:
            question = one.question
            try:
                journal = self.store.read_bytes(f"searches/{question.fingerprint}/{one.sampler}.json")
            except FileNotFoundError:
                continue
            for config in json.loads(journal):
                for seed in question.seeds:
                    yield from question.runs(config, seed)

    def _with_diff(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record of changed code, with the changes themselves."""
        diff = record["provenance"].get("git_diff")
        if not diff:
            return record
        try:
            return record | {"diff": self.store.read_bytes(diff["place"]).decode()}
        except FileNotFoundError:
            return record


def cell_key(run: Run) -> str:
    """What runs have in common that differ in their seed alone, their base models' included."""

    def shared(identity: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in identity.items() if name not in ("seed", "base")}

    return fingerprint(
        {"model": run.cell.model.name, "run": shared(run.identity), "base": shared(run.base.identity)}
    )
