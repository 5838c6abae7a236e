"""From a study's store to what a report is made of: every planned run with its record, or with why there is none.

Nothing is written, and nothing that is damaged keeps the rest from being read.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

from flare_ray import registry
from flare_ray.commands.agreed_scores import AgreedScores, score_key
from flare_ray.damage import damaged_work
from flare_ray.errors import InputError
from flare_ray.execution.searching import answers
from flare_ray.plan.grid import Run
from flare_ray.plan.wire import run_facts
from flare_ray.report.agreement import score_problem
from flare_ray.report.lost_answers import lost_answer_notes
from flare_ray.report.results import Outcome, Results, RunResult, Selected, TaskFacts
from flare_ray.report.statistics import Predictions
from flare_ray.store import Damaged, Store
from flare_ray.study import Study

PREDICTIONS, ACTIVATIONS = "predictions.parquet", "activations.parquet"


def gather(study: Study) -> Results:
    """All planned runs of a sweep, and those that its searches have selected."""
    finder = _Finder(study)
    runs = [finder.result(run) for run in study.grid.runs]
    for one, facts in answers(study.searches, study.store):
        chosen = Selected(
            one.sampler,
            facts["configurations"],
            facts["selected"],
            facts.get("validation"),
            one.question.label,
        )
        wanted = [run for seed in one.seeds for run in one.question.runs(facts["selected"], seed)]
        runs += [finder.result(run, chosen) for run in wanted]
    return Results(
        study.sweep.name,
        tuple(runs),
        task_facts(study.sweep.tasks, {model.name: model.family for model in study.sweep.models}),
        finder.readable("bases", {run.facts["base"] for run in runs}),
        finder.readable("corpora", {one for run in runs for one in run.facts["corpora"].values()}),
        lambda fingerprint: read_predictions(study.store, fingerprint),
        (*_notes(study), *lost_answer_notes(runs)),
        lambda fingerprint: read_activations(study.store, fingerprint),
        tuple(str(one) for one in damaged_work(study) if not one.place.startswith("runs/")),
    )


def task_facts(tasks: Iterable[str], families: Mapping[str, str]) -> dict[str, TaskFacts]:
    """What a report must know of tasks. families: by the models' names."""
    found = {}
    for name in tasks:
        task = registry.load("tasks", name)
        table_5 = {
            model: vars(task.hyperparameters(registry.load("models", family).architecture))
            for model, family in families.items()
        }
        found[name] = TaskFacts(task.metric, task.score, task.labels, tuple(task.languages), table_5)
    return found


def read_predictions(store: Store, fingerprint: str) -> Predictions:
    """What a finished run said. Raises FileNotFoundError, Damaged, and pyarrow's errors for a damaged file."""
    content = store.read_file("runs", fingerprint, PREDICTIONS)
    if content is None:
        raise FileNotFoundError(f"run {fingerprint} has no {PREDICTIONS}")
    return predictions_of(content)


def predictions_of(content: bytes) -> Predictions:
    """The predictions in a run's file."""
    columns = ["id", "gold", "prediction"]
    kept = table_of(content, columns)
    return Predictions(*(kept.column(name).to_pylist() for name in columns))


def read_activations(store: Store, fingerprint: str) -> list[dict[str, Any]] | None:
    """What a finished run measured in its bottlenecks, None where it has not. Raises as `read_predictions`."""
    content = store.read_file("runs", fingerprint, ACTIVATIONS)
    return None if content is None else list(table_of(content).to_pylist())


def table_of(content: bytes, columns: list[str] | None = None) -> Any:
    """A Parquet file as a table."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content), columns=columns)


def checked_record(
    store: Store, fingerprint: str, task: Any, agreed: AgreedScores | None = None
) -> tuple[Mapping[str, Any], str | None]:
    """Return a finished run's record, and what is wrong with its scores by its predictions; None where they agree.

    task: with `score` and `metric`. agreed: scores that need not be computed once more. Raises FileNotFoundError,
    Damaged, and OSError for what cannot be read now.
    """
    record, manifest = store.read_record("runs", fingerprint)
    content = store.read_listed(f"runs/{fingerprint}", manifest, PREDICTIONS)
    key = score_key(manifest, PREDICTIONS) if manifest else None
    if agreed is not None and key and key in agreed:
        return record, None
    try:
        predictions = predictions_of(content) if content is not None and _is_scorable(content) else None
        problem = score_problem(record.get("metrics"), predictions, task.score, task.metric)
    except (
        Exception
    ) as error:  # the boundary to pyarrow and the metrics, which are given what others may have written
        problem = f"its predictions cannot be scored: {type(error).__name__}: {error}"
    if agreed is not None and key and problem is None:
        agreed.add(key)
    return record, problem


def _is_scorable(content: bytes) -> bool:
    """Return whether the predictions have the accepted answers beside them."""
    import pyarrow.parquet as pq

    return "gold" in pq.read_schema(io.BytesIO(content)).names


class _Finder:
    """Records and failures of a store as it is now."""

    def __init__(self, study: Study):
        self.store, self.study = study.store, study
        self.finished = {kind: self.store.finished(kind) for kind in ("runs", "bases", "corpora")}
        self.damaged, self.agreed = self.store.damaged("runs"), AgreedScores()
        self.failures = {name.removesuffix(".json") for name in self.store.names("failures")}
        self._known: dict[str, RunResult] = {}

    def result(self, run: Run, selected: Selected | None = None) -> RunResult:
        """A run and what became of it."""
        setting = registry.load("methods", run.cell.method).setting
        outcome, record, error = self._outcome(run)
        return RunResult(run_facts(run), setting, outcome, record, error, selected)

    def _outcome(self, run: Run) -> tuple[Outcome, Mapping[str, Any] | None, str]:
        if run.fingerprint in self.damaged:
            return "damaged", None, self.damaged[run.fingerprint]
        if run.fingerprint in self.finished["runs"]:
            try:
                task = registry.load("tasks", run.cell.task)
                record, problem = checked_record(self.store, run.fingerprint, task, self.agreed)
            except (Damaged, FileNotFoundError) as error:
                return "damaged", None, str(error)
            return ("damaged", None, problem) if problem else ("finished", record, "")
        failed = self._failure(run)
        return ("failed", None, failed) if failed else ("missing", None, "")

    def _failure(self, run: Run) -> str:
        """Why a run has no result: its own failure, or that of a base model or translation it waits for."""
        needs = [("runs", run.fingerprint, ""), ("bases", run.base.fingerprint, "its base model: ")]
        needs += [("corpora", one.fingerprint, f"its translation {one.label}: ") for one in run.corpora]
        for kind, fingerprint, what in needs:
            if fingerprint in self.failures and fingerprint not in self.finished[kind]:
                return what + self._error(fingerprint)
        return ""

    def _error(self, fingerprint: str) -> str:
        return str((self.store.failure(fingerprint) or {}).get("error", "unknown"))

    def readable(self, kind: str, fingerprints: set[str]) -> dict[str, Mapping[str, Any]]:
        """Records of a kind, those that can be read."""
        found: dict[str, Mapping[str, Any]] = {}
        for one in sorted(fingerprints & self.finished[kind]):
            try:
                found[one] = self.store.record(kind, one)
            except (Damaged, FileNotFoundError):  # since it was found sound
                continue
        return found


def _notes(study: Study) -> list[str]:
    try:
        return study.notes()
    except (Damaged, FileNotFoundError, AttributeError, KeyError, TypeError, ValueError, InputError) as error:
        return [f"What is stored of the translations cannot all be read: {error}"]
