"""A study: a validated sweep file and its store, what is left to do of it, and its tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem, refusal
from flare_ray.execution.capacity import translator_gpus
from flare_ray.execution.cluster import cluster_problems
from flare_ray.execution.searching import Asked, answers, asked
from flare_ray.execution.watchdog import is_restart
from flare_ray.models._gates import gate_problems
from flare_ray.plan.axes import parallels
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.cost import Costs
from flare_ray.plan.grid import Grid, Run, expand
from flare_ray.plan.limits import limit_notes
from flare_ray.plan.load import InvalidSweep, load_sweep
from flare_ray.plan.schema import Sweep, Translation
from flare_ray.plan.search import questions
from flare_ray.plan.stages import Stages, stages
from flare_ray.plan.storage import is_storage
from flare_ray.plan.translation_cost import TranslationCosts
from flare_ray.store import Store, open_store, read_store, shelf
from flare_ray.store.shelf import Shelf
from flare_ray.tracking.uris import is_server, refused, unreachable


class Study:
    """One validated sweep and its store.

    warnings: what is wrong with MLflow and need not keep it from going on. doubts: what looks wrong with its inputs.

    study = Study.open(Path("sweeps/demo.yaml"))
    outcome = running.execute(study, Console())
    """

    def __init__(
        self,
        file: Path,
        sweep: Sweep,
        store: Store,
        warnings: Sequence[Problem] = (),
        doubts: Sequence[Problem] = (),
    ):
        self.file, self.sweep, self.store = file, sweep, store
        self.warnings, self.doubts = tuple(warnings), tuple(doubts)

    @classmethod
    def open(
        cls, file: Path, overrides: Sequence[str] = (), to_execute: bool = True, check: bool | None = None
    ) -> Study:
        """Reads the file and looks at everything it names. Raises InputError with all problems at once.

        It is Unreachable when nothing is wrong but a storage that is away. to_execute: whether the store must be
        writable, and the tracking server and the cluster answer; planning and reading need none of it. check: whether
        checkpoints and rows are looked at (inputs/check.py), as for execution; `to_execute` if left out.
        """
        problems: list[Problem] = []
        warnings: list[Problem] = []
        doubts: list[Problem] = []
        sweep = store = grid = None
        try:
            sweep = load_sweep(file, overrides)
        except InputError as error:
            problems += error.problems
            if isinstance(error, InvalidSweep) and error.sweep and (to_execute if check is None else check):
                problems += _further_problems(error.sweep)
        named = _named(file, overrides, sweep)
        try:
            if named["storage"]:
                store = (open_store if to_execute else read_store)(named["storage"])
        except InputError as error:
            problems += error.problems
        if sweep and (to_execute if check is None else check):
            grid = expand(sweep)
            problems += _untranslatable(sweep, grid)
            doubts = _doubts(sweep, grid, problems)
        if to_execute:
            shelf.use(Shelf(store) if store else None)
            problems += gate_problems(sweep.models) if sweep else []
            uri = named["uri"] or (_database_of(store, sweep) if store and sweep else None)
            away, wrong = _tracking(uri, store) if uri else ([], [])
            problems, warnings = problems + cluster_problems() + wrong, away
        if problems or sweep is None or store is None:
            raise refusal(str(file), problems)
        study = cls(file, sweep, store, warnings, doubts)
        if grid is not None:
            study.grid = grid
        return study

    @cached_property
    def grid(self) -> Grid:
        """All runs of the sweep."""
        return expand(self.sweep)

    def stages(self, given_up: Collection[str] = ()) -> Stages:
        """What is left to do, by what the store has now. given_up: fingerprints of failed work to leave alone."""
        return self.stages_of(self.grid, given_up)

    def stages_of(self, grid: Grid, given_up: Collection[str] = ()) -> Stages:
        """What is left to do of some runs."""
        return stages(
            grid,
            self.store.finished("runs"),
            self.store.finished("bases"),
            self.sweep.resources.pack_size,
            self.store.finished("corpora"),
            given_up,
        )

    def ahead(self, todo: Stages) -> Stages:
        """What is left, and what open searches will ask for, as far as it can be known: see Question.reach."""
        if not self.searches:
            return todo
        found = answers(self.searches, self.store)
        answered = {one.place for one, _ in found}
        asked = [one.question for one in self.searches if one.place not in answered]
        runs = [*todo.todo, *(run for one in asked for run in one.reach)]
        runs += [run for one, facts in found for run in _selected(one, facts)]
        return self.stages_of(Grid(tuple({run.fingerprint: run for run in runs}.values()), ()))

    def costs(self) -> Costs:
        """What its work costs, by what is finished now."""
        runs, bases = self.store.finished("runs"), self.store.finished("bases")
        translations = TranslationCosts(
            self.sweep.resources,
            translator_gpus(self.sweep.resources),
            self.finished_corpora(),
            self.store.record,
        )
        return Costs(self.sweep, self.grid, runs, bases, self.store.record, translations)

    def finished_corpora(self) -> list[Corpus]:
        """Translated splits of the grid that the store has."""
        there = self.store.finished("corpora")
        return [corpus for corpus in self.grid.corpora if corpus.fingerprint in there]

    @cached_property
    def searches(self) -> list[Asked]:
        """Every search of the sweep."""
        return asked(questions(self.sweep), self.sweep.seeds)

    def selected(self) -> list[tuple[str, list[Run]]]:
        """What the searches that are done have selected: a table row's name, and its runs with all seeds."""
        found = []
        for one, facts in answers(self.searches, self.store):
            config = ", ".join(f"{axis}={value}" for axis, value in facts["selected"].items())
            method, count = one.question.section.method.name, facts["configurations"]
            name = f"{method} ({config}; {one.sampler}: best of {count})"
            found.append((name, _selected(one, facts)))
        return found

    def searching(self, left_alone: Callable[[str], bool] = lambda run: True) -> bool:
        """Whether a search is not done, or a run of what it selected.

        left_alone: whether a failed run, by its fingerprint, is not to be tried again.
        """
        finished, found = self.store.finished("runs"), answers(self.searches, self.store)
        if len(found) < len(self.searches):
            return True
        if any(not left_alone(run) for _, facts in found for run in facts["failed"] if run not in finished):
            return True
        return any(run.fingerprint not in finished for one, facts in found for run in _selected(one, facts))

    def unanswered(self) -> list[str]:
        """Searches that have selected nothing."""
        found = {one.place for one, _ in answers(self.searches, self.store)}
        return [f"{one.question.label} by {one.sampler}" for one in self.searches if one.place not in found]

    def runs(self) -> list[Run]:
        """The grid's, and what searches have selected."""
        every = [*self.grid.runs, *(run for _, runs in self.selected() for run in runs)]
        return list({run.fingerprint: run for run in every}.values())

    @property
    def tracking_uri(self) -> str:
        """The sweep's, else MLFLOW_TRACKING_URI, else a sqlite file in the storage folder."""
        return tracking_uri(self.sweep.tracking.uri) or _database_of(self.store, self.sweep)

    @property
    def tracking_folder(self) -> Path:
        """Where an MLflow without a server keeps its file and artifacts."""
        return _tracking_folder(self.store, self.sweep)

    def notes(self) -> list[str]:
        """What a reader of the tables must know about the text that went in."""
        texts = parallels(self.sweep)
        machines = [one.model for one in texts if isinstance(one, Translation)]
        notes = []
        if "gold" in texts:
            notes.append(
                "Parallel text: gold. Target and English rows are the corpus's own, not machine translation: "
                "a method that reads the source reads gold English at test too."
            )
        if "files" in texts:
            notes.append(
                "Parallel text: the test rows' English is the machine translation beside the data files."
            )
        if machines:
            notes.append(
                f"Parallel text: machine translation by {', '.join(machines)}. Training rows are English rows "
                "translated into the target, the English of a test row is translated from it."
            )
            if substitutes := _substitution(self.grid):
                notes.append(f"Parallel text: {substitutes}.")
        return limit_notes(self.sweep) + notes + (self._corpora_notes() if machines else [])

    def _corpora_notes(self) -> list[str]:
        """Return a line for each stored translation: rows lost, answers kept, suspicious rows."""
        lines = []
        for corpus in self.finished_corpora():
            record = self.store.record("corpora", corpus.fingerprint)
            lost = ", ".join(f"{count} {reason}" for reason, count in record["failed"].items())
            kept = f", answers kept {record['retention']:.1%}" if "retention" in record else ""
            suspicious = _suspicious(record)
            if lost or kept or suspicious:
                counts = f"{record['rows']} rows{', ' + lost if lost else ''}{kept}{suspicious}"
                lines.append(f"{corpus.label}: {counts}.")
        return lines


def _suspicious(record: Mapping[str, Any]) -> str:
    """Return what a translated split's record counts of flags, and its round trip; "" for nothing."""
    flagged = ", ".join(f"{count} {flag}" for flag, count in record.get("flagged", {}).items() if count)
    back = record.get("round_trip")
    text = f", suspicious: {flagged}" if flagged else ""
    return text + (f", round trip chrF {back['chrf']:.1f} on {back['rows']} texts" if back else "")


def _substitution(grid: Grid) -> str | None:
    """Return which languages of the grid are translated as another one."""
    from flare_ray.translation.checkpoints import substitution

    return substitution(corpus.language for corpus in grid.corpora)


def _selected(one: Asked, facts: Mapping[str, Any]) -> list[Run]:
    """The runs of what a search selected, with all seeds. facts: its answer."""
    return [run for seed in one.seeds for run in one.question.runs(facts["selected"], seed)]


def _tracking_folder(store: Store, sweep: Sweep) -> Path:
    return Path(store.root) if store.local else cache_folder() / "mlflow" / sweep.name


def _database_of(store: Store, sweep: Sweep) -> str:
    """Return the address of the MLflow database that lies in the storage, or in the cache for one elsewhere."""
    return f"sqlite:///{_tracking_folder(store, sweep) / 'mlflow.db'}"


def tracking_uri(uri: str | None) -> str | None:
    """The sweep's tracking URI, else the environment's, else None."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI")


def _tracking(uri: str, store: Store | None) -> tuple[list[Problem], list[Problem]]:
    """What is wrong with a tracking server: what a sweep continues with, and what it cannot start with.

    A sweep that has finished work has had the right address: a server that is away is waited for, and the store keeps
    what it has not got. In a store that has none it may as well be a mistyped one. A sweep that was running continues
    without its MLflow, whatever that has. store: None where it is not known.
    """
    found = unreachable(uri)
    if not found:
        return [], refused(uri)
    if store is None:
        return [], found
    if (is_restart() or all(one.passes for one in found)) and any(
        store.finished(kind) for kind in ("runs", "bases", "corpora")
    ):
        return found, []
    if not is_server(uri):  # a lock passes, and nothing else of a database does
        return [], found
    return [], [replace(one, passes=False) for one in found]


def _further_problems(sweep: Sweep) -> list[Problem]:
    """Return what is wrong with the models of a sweep that has other problems, as far as it can be known."""
    from flare_ray.inputs.check import check_models

    try:
        runs = expand(sweep).runs
    except (InputError, OSError, ValueError):
        runs = ()
    return check_models(sweep, runs).problems


def _doubts(sweep: Sweep, grid: Grid, problems: list[Problem]) -> list[Problem]:
    """Add what is wrong with the inputs to `problems`; return what looks wrong and is no reason to stop."""
    from flare_ray.inputs.check import check_inputs

    runs = [*grid.runs, *(run for one in questions(sweep) for run in one.reach)]
    found = check_inputs(sweep, runs)
    problems += found.problems
    if substitutes := _substitution(grid):
        remedy = "a translation model that knows them; results for these languages depend on it"
        found.add(warnings=[Problem("translation", substitutes, remedy)])
    return found.warnings


def _untranslatable(sweep: Sweep, grid: Grid) -> list[Problem]:
    """Languages that the sweep's translation models do not know."""
    machines = [one for one in parallels(sweep) if isinstance(one, Translation)]
    if not machines:
        return []
    from flare_ray.translation.checks import language_problems

    ends = {registry.load("tasks", corpus.task).source_language: None for corpus in grid.corpora}
    languages = list(ends | dict.fromkeys(corpus.language for corpus in grid.corpora))
    return [found for one in machines for found in language_problems(one, languages, "translation.model")]


def _named(file: Path, overrides: Sequence[str], sweep: Sweep | None) -> dict[str, Any]:
    """Storage and tracking URI, also of a sweep that has other problems: all are told at once."""
    if sweep is not None:
        return {"storage": sweep.storage, "uri": tracking_uri(sweep.tracking.uri)}
    from flare_ray.plan.extends import extended
    from flare_ray.plan.load import apply_overrides

    try:
        raw = apply_overrides(extended(file), overrides, str(file))
    except InputError:
        return {"storage": None, "uri": tracking_uri(None)}
    storage, tracking = raw.get("storage", Sweep.model_fields["storage"].default), raw.get("tracking")
    uri = tracking.get("uri") if isinstance(tracking, dict) else None
    return {
        "storage": storage if isinstance(storage, str) and is_storage(storage) else None,
        "uri": tracking_uri(uri if isinstance(uri, str) else None),
    }
