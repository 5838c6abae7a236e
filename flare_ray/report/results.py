"""What became of every planned run of a sweep, and the rows of its tables: the source of all of a report's numbers.

results.blocks()        # per model and task: mean ± std by row and language (table.py)
results.rows("xlm-r-large", "nusax")["flare (add_relu, r=64)"].axes["rank"]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from flare_ray.report import table
from flare_ray.report.statistics import Predictions
from flare_ray.report.table import Block, Value

Outcome = Literal["finished", "failed", "damaged", "missing"]
Score = Callable[[Sequence[Sequence[str]], Sequence[str | None]], Mapping[str, float]]


@dataclass(frozen=True)
class TaskFacts:
    """What a report must know of a task. score: predictions to metrics in points; labels: of a classification.

    hyperparameters: Table 5's, by the model's name.
    """

    metric: str
    score: Score
    labels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Selected:
    """What a search chose on validation, and over how many configurations."""

    sampler: str
    configurations: int
    config: Mapping[str, Any]
    validation: float | None
    label: str

    @property
    def row(self) -> str:
        """Names the table row that all languages' choices make together."""
        return f"chosen by search ({self.sampler}) †"

    def __str__(self) -> str:
        chosen = ", ".join(f"{axis}={value}" for axis, value in self.config.items())
        return f"† {self.label}: {chosen} ({self.sampler}: best of {self.configurations} on validation)"


@dataclass(frozen=True)
class RunResult:
    """A planned run and what became of it.

    facts: which run it is (plan/wire.py, run_facts). setting: the paper's group of rows. error: why there is no
    record. selected: the search that asked for it.
    """

    facts: Mapping[str, Any]
    setting: str
    outcome: Outcome
    record: Mapping[str, Any] | None = None
    error: str = ""
    selected: Selected | None = None

    @property
    def row(self) -> str:
        """Its row in a table."""
        if self.selected:
            return f"{self.facts['method']} {self.selected.row}"
        return str(self.facts["variant"])


@dataclass(frozen=True)
class RowFacts:
    """A row of one model and task: which method, and at what point of its axes.

    axes and options are empty where a search chose them language by language.
    """

    name: str
    method: str
    setting: str
    axes: Mapping[str, Any]
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    selected: bool


@dataclass(frozen=True)
class Results:
    """A sweep's planned runs with their records. bases, corpora: records by fingerprint, those that can be read.

    predictions: of a finished run, by fingerprint; raises whatever keeps them from being read. activations: the rows
    of its file (training/activations.py), None where it has none. notes: what a reader must know of the text that
    went in. damage: the stored base models, translated splits and search answers that are not what was written.
    """

    name: str
    runs: tuple[RunResult, ...]
    tasks: Mapping[str, TaskFacts]
    bases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    corpora: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    predictions: Callable[[str], Predictions] | None = None
    notes: tuple[str, ...] = ()
    activations: Callable[[str], Sequence[Mapping[str, Any]] | None] | None = None
    damage: tuple[str, ...] = ()

    def blocks(self) -> list[Block]:
        """Per model and task: a row per variant, a column per language, mean ± std over seeds."""
        return self._blocks

    @cached_property
    def _blocks(self) -> list[Block]:
        planned = [{**run.facts, "variant": run.row} for run in self.runs]
        metrics = {name: task.metric for name, task in self.tasks.items()}
        return table.blocks(
            planned, self.records, self._with("failed"), metrics, damaged=self._with("damaged")
        )

    @cached_property
    def records(self) -> dict[str, Mapping[str, Any]]:
        """Of finished runs, by fingerprint."""
        return {run.facts["fingerprint"]: run.record for run in self.runs if run.record is not None}

    def block(self, model: str, task: str) -> Block | None:
        """The block of a model and task, None when nothing was planned there."""
        return next((one for one in self.blocks() if (one.model, one.task) == (model, task)), None)

    @cached_property
    def models(self) -> list[str]:
        """In the order of the plan."""
        return list(dict.fromkeys(run.facts["model"] for run in self.runs))

    @cached_property
    def planned_tasks(self) -> list[str]:
        """In the order of the plan."""
        return list(dict.fromkeys(run.facts["task"] for run in self.runs))

    def of(self, model: str, task: str, row: str | None = None) -> list[RunResult]:
        """The planned runs of a model and task, and of one row if it is given."""
        return [run for run in self._grouped[model, task] if row is None or run.row == row]

    @cached_property
    def _grouped(self) -> dict[tuple[str, str], list[RunResult]]:
        grouped: dict[tuple[str, str], list[RunResult]] = defaultdict(list)
        for run in self.runs:
            grouped[run.facts["model"], run.facts["task"]].append(run)
        return grouped

    def rows(self, model: str, task: str) -> dict[str, RowFacts]:
        """The rows of a model and task by name, in the order of the plan."""
        found: dict[str, RowFacts] = {}
        for run in self.of(model, task):
            facts = run.facts
            chosen = run.selected is not None
            found.setdefault(
                run.row,
                RowFacts(
                    run.row,
                    facts["method"],
                    run.setting,
                    {} if chosen else facts["axes"],
                    {} if chosen else facts["options"],
                    facts["settings"],
                    chosen,
                ),
            )
        return found

    def value(self, model: str, task: str, row: str, column: str = table.AVERAGE) -> Value | None:
        """A cell of a block; None where nothing was planned."""
        block = self.block(model, task)
        return block.rows[row].get(column) if block and row in block.rows else None

    def english(self, model: str, task: str) -> Value | None:
        """The base models on English, over their seeds; None without a record of any."""
        wanted = list(dict.fromkeys(run.facts["base"] for run in self.of(model, task)))
        metric = self.tasks[task].metric
        metrics = [self.bases[one].get("metrics") for one in wanted if one in self.bases]
        scores = [one[metric] for one in metrics if isinstance(one, Mapping) and _is_finite(one.get(metric))]
        return Value(tuple(scores), len(wanted)) if scores else None

    def translators(self, model: str, task: str, row: str) -> list[str]:
        """Models that translated what the runs of a row read, as far as their translations are stored."""
        prints = {one for run in self.of(model, task, row) for one in run.facts["corpora"].values()}
        found = [self.corpora[one]["translator"]["model"] for one in sorted(prints) if one in self.corpora]
        return list(dict.fromkeys(found))

    def _with(self, outcome: Outcome) -> list[str]:
        return [run.facts["fingerprint"] for run in self.runs if run.outcome == outcome]


def costs_of(record: Mapping[str, Any] | None) -> dict[str, float]:
    """Return what a record's work cost, as far as it holds finite numbers: a damaged one may hold anything."""
    costs = (record or {}).get("cost")
    if not isinstance(costs, Mapping):
        return {}
    return {name: value for name, value in costs.items() if _is_finite(value)}


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # False for NaN, and for an integer that is no float
