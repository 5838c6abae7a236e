"""Running a study: what is left to do, on a Ray cluster, every record on its way to MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from flare_ray.cache import cache_folder
from flare_ray.execution.failed import given_up
from flare_ray.plan.checkpoints import SANDBOX
from flare_ray.plan.grid import Run
from flare_ray.plan.stages import Stages
from flare_ray.study import Study
from flare_ray.tracking.views import corpus_view, run_view
from flare_ray.tracking.writer import MakeView, Writer


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. tracking_errors: what MLflow did not take; the store has it all the same."""

    failed: tuple[Run, ...]
    tracking_errors: tuple[str, ...]


def execute(study: Study, console: Console, retry_failed: bool = False) -> Outcome:
    """Trains what is left and records it. Raises InputError before anything is trained, and Interrupted.

    retry_failed: whether work is tried again whose failure lay in the code or the numbers, and that would end the
    same way as far as one can tell.
    """
    from flare_ray.execution.provenance import provenance

    facts = provenance() | {"sweep": study.sweep.name}
    left_alone = set() if retry_failed else given_up(study.store, study.grid, facts)
    todo = study.stages(left_alone)
    writer = _writer(study)
    try:
        records = _Records(study, writer)
        for run in todo.done:
            records.run(run)
        stored = study.store.finished("corpora")
        for corpus in study.grid.corpora:
            if corpus.fingerprint in stored:
                records.corpus(corpus.fingerprint)
        if todo.packs:
            _train(study, lambda: study.stages(left_alone), todo, records, facts, console)
    finally:
        writer.close()
    finished = study.store.finished("runs")
    failed = [run for run in study.grid.runs if run.fingerprint not in finished]
    return Outcome(tuple(failed), tuple(writer.errors))


def _writer(study: Study) -> Writer:
    uri, artifacts = study.tracking_uri, None
    if uri.startswith("sqlite:"):
        study.tracking_folder.mkdir(parents=True, exist_ok=True)
        artifacts = (study.tracking_folder / "mlflow-artifacts").as_uri()
    return Writer(uri, study.sweep.name, artifacts)


class _Records:
    """Finished work, from the store to MLflow."""

    def __init__(self, study: Study, writer: Writer):
        self.store, self.writer = study.store, writer

    def run(self, run: Run) -> None:
        self._submit(run.cell.task, "runs", run.fingerprint, run_view)

    def corpus(self, fingerprint: str) -> None:
        self._submit("translation", "corpora", fingerprint, corpus_view)

    def _submit(self, experiment: str, kind: str, fingerprint: str, view: MakeView) -> None:
        def load() -> tuple[dict[str, Any], Path]:
            return self.store.record(kind, fingerprint), self.store.folder(kind, fingerprint)

        self.writer.submit(experiment, fingerprint, load, view)


def _train(
    study: Study,
    plan: Callable[[], Stages],
    todo: Stages,
    records: _Records,
    facts: dict[str, Any],
    console: Console,
) -> None:
    from flare_ray.execution.cluster import connect
    from flare_ray.execution.driver import Execution
    from flare_ray.execution.failed import forget
    from flare_ray.execution.progress import Progress

    console.print("starting Ray …")
    connect()
    _build_sandbox(study, console)
    forget(study.store, todo)
    runs = {run.fingerprint: run for run in todo.todo}
    with Progress(console, len(runs), len(todo.bases)) as progress:

        def on_event(event: dict[str, Any]) -> None:
            progress.on_event(event)
            if event["event"] == "finished":
                if event["kind"] == "run":
                    records.run(runs[event["fingerprint"]])
                if event["kind"] == "corpus":
                    records.corpus(event["fingerprint"])

        Execution(
            plan,
            study.store,
            study.sweep.resources,
            lambda model, task: study.sweep.resources,
            facts,
            lambda work: 10.0,
            on_event,
            progress.stopping,
        ).run()


def _build_sandbox(study: Study, console: Console) -> None:
    checkpoints = [model.checkpoint for model in study.sweep.models]
    checkpoints += [corpus.translator["checkpoint"] for corpus in study.grid.corpora]
    uses_models = any(checkpoint.startswith(SANDBOX) for checkpoint in checkpoints)
    if not uses_models and "sandbox" not in study.sweep.data.values():
        return
    from flare_ray.sandbox.build import ensure

    ensure(cache_folder(), report=console.print)
