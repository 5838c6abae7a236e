"""A search over configurations, as runs for the board: Optuna proposes, the race decides who gets more seeds.

The objective is a validation metric, averaged over seeds and languages. Runs are ordinary runs with fingerprints of
their own: those that a grid or an earlier start has finished are known at once and cost nothing, and one that two
searches want is trained once. What was proposed stands in the store, so that a start after a crash continues with the
same configurations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Protocol

from flare_ray.execution.dashboard import View
from flare_ray.execution.pruning import Curve, Pruner
from flare_ray.execution.racing import Candidate, Race, ordered
from flare_ray.execution.sampling import Config, Sampler
from flare_ray.execution.search_journal import recovered_journal, write_journal
from flare_ray.plan.grid import Run
from flare_ray.store import Store


class Question(Protocol):
    """What is searched: a method on a model and task, for one language or over several."""

    @property
    def label(self) -> str:
        """For people, and unique in a sweep."""

    @property
    def fingerprint(self) -> str:
        """Of the question and its space."""

    @property
    def space(self) -> Mapping[str, Any]:
        """Axis -> a list of values, or {low, high, log}."""

    def runs(self, config: Config, seed: int) -> tuple[Run, ...]:
        """The runs of a configuration with a seed, one for each language."""


@dataclass(frozen=True)
class Rules:
    """How a search goes.

    configurations: proposed and tried; those known before are not counted. parallel: at a time. factor: one
    configuration in so many gets more seeds (racing.py); 1 gives each all. rungs: shares of a training after which as
    few continue (pruning.py). sampler: "tpe" | "random".
    """

    configurations: int
    seeds: tuple[int, ...]
    parallel: int = 4
    factor: int = 2
    sampler: str = "tpe"
    seed: int = 0
    rungs: tuple[float, ...] = ()


class Search:
    """One search.

    known: configurations whose runs a grid has finished or will finish: they take part and cost nothing.
    """

    def __init__(
        self,
        question: Question,
        rules: Rules,
        store: Store,
        known: Sequence[Config] = (),
        optuna_storage: Any = None,
    ):
        self.question, self.rules, self.store = question, rules, store
        self.name = f"{question.label} by {rules.sampler}"
        self.race = Race(len(rules.seeds), rules.factor)
        self.journal = f"searches/{question.fingerprint}/{rules.sampler}.json"
        self._runs: dict[tuple[int, int], tuple[Run, ...]] = {}
        self._values: dict[str, float | None] = {}
        self._asked: set[str] = set()
        self._mine: dict[str, Candidate] = {}
        self._pruner = Pruner(rules.rungs, rules.factor)
        self._curves: dict[str, dict[float, float]] = {}
        self._exhausted = False
        self._told: set[int] = set()
        self._proposed = recovered_journal(store, self.journal)[: rules.configurations]
        self._sampler = Sampler(question.space, rules, len(self._proposed))
        self._view = View(f"{self.name} [{question.fingerprint[:8]}]", question.space, optuna_storage)
        for config in self._proposed:
            self.race.enter(config)
        self._dropped: list[dict[str, Any]] = recovered_journal(store, self.journal_of_dropped)
        for entry in self._dropped:
            self._pruner.hopeless(entry["contest"], entry["run"], entry["curve"])
            for one in self.race.candidates:
                if one.config == entry["config"]:
                    one.dropped = entry["value"]
        free = [self.race.enter(dict(config)) for config in known if config not in self._proposed]
        self._free = {one.number for one in free}

    @property
    def journal_of_dropped(self) -> str:
        """Where in the store it is written which configurations were dropped within a training."""
        return self.journal.replace(".json", ".dropped.json")

    @property
    def done(self) -> bool:
        """Whether every configuration has what it wanted."""
        return self._no_more and not self._unfinished()

    @property
    def _no_more(self) -> bool:
        return self._exhausted or len(self._proposed) >= self.rules.configurations

    def _unfinished(self) -> list[Candidate]:
        return [one for one in self.race.candidates if not one.out and len(one.values) < one.wanted]

    def settled(self, run: Run, value: float | None, curve: Curve = ()) -> None:
        """A run ended, this search's or not: its objective, None when it failed; and its validations."""
        self._values[run.fingerprint] = value
        if run.fingerprint in self._mine:
            self._pruner.hopeless(_contest(run), run.fingerprint, curve)

    def validated(self, run: Run, share: float, value: float) -> None:
        """A run has come so far in its training. It may turn out that its configuration is not wanted any more."""
        one = self._mine.get(run.fingerprint)
        if one is None or one.out or one.number in self._free:
            return
        self._curves.setdefault(run.fingerprint, {})[share] = value
        curve = sorted(self._curves[run.fingerprint].items())
        if self._pruner.hopeless(_contest(run), run.fingerprint, curve) and share < 1:
            so_far = max(value for _, value in curve)
            one.dropped = mean([*(value for value in one.values if value is not None), so_far])
            facts = {"config": one.config, "value": one.dropped, "share": share}
            facts |= {"run": run.fingerprint, "contest": _contest(run), "curve": curve}
            self._dropped.append(facts)
            write_journal(self.store, self.journal_of_dropped, self._dropped)

    def wants(self, run: str) -> bool:
        """Whether it waits for the end of a run, by its fingerprint."""
        return run in self._mine and run not in self._values and not self._mine[run].out

    def wanted(self) -> list[Run]:
        """Runs that this search wants now and has not asked for before; none while it must wait or is done."""
        asked: list[Run] = []
        while True:
            self._collect()
            if self.race.promote(self._no_more):
                continue
            asked += self._ask()
            open_ones = [one for one in self._unfinished() if one.number not in self._free]
            if self._no_more or len(open_ones) >= self.rules.parallel:
                return asked
            self._propose()

    def failed(self) -> list[str]:
        """Fingerprints of its runs that failed."""
        return sorted(run for run in self._mine if self._values.get(run, 0.0) is None)

    def selected(self) -> tuple[Config, float] | None:
        """The best configuration that has all seeds, and its objective."""
        best = self.race.best()
        return (best.config, best.score(len(self.rules.seeds))) if best else None

    def _ask(self) -> list[Run]:
        new = []
        for one in self._unfinished():
            for place in range(one.wanted):
                for run in self._runs_of(one, place):
                    if run.fingerprint not in self._asked and run.fingerprint not in self._values:
                        self._asked.add(run.fingerprint)
                        new.append(run)
        return new

    def _runs_of(self, one: Candidate, place: int) -> tuple[Run, ...]:
        key = (one.number, place)
        if key not in self._runs:
            self._runs[key] = self.question.runs(one.config, self.rules.seeds[place])
            self._mine |= {run.fingerprint: one for run in self._runs[key]}
        return self._runs[key]

    def _collect(self) -> None:
        """Values of seeds whose runs have all ended; a candidate that ends is told to the sampler."""
        for one in self.race.candidates:
            found: dict[int, float | None] = {}
            for place in range(len(one.values), one.wanted):
                values = [self._values.get(run.fingerprint, "waits") for run in self._runs_of(one, place)]
                if "waits" in values:
                    break
                scores = [value for value in values if isinstance(value, float)]
                found[place] = mean(scores) if len(scores) == len(values) else None
            one.values += ordered(found, range(len(one.values), one.wanted))
            if one.number not in self._told and (one.out or len(one.values) >= one.wanted):
                self._told.add(one.number)
                self._sampler.tell(one.config, _score(one))
                self._view.add(one.config, _score(one), one.dropped is not None)

    def _propose(self) -> None:
        """Lets one more configuration enter, written down before any of its runs starts."""
        entered = [one.config for one in self.race.candidates]
        config = self._sampler.ask(entered)
        if config is None:
            self._exhausted = True
            return
        self._proposed.append(config)
        write_journal(self.store, self.journal, self._proposed)
        self.race.enter(config)


def _contest(run: Run) -> str:
    """Runs that are compared at a rung have this in common."""
    return f"{run.cell.language}/{run.seed}"


def _score(one: Candidate) -> float | None:
    """What the sampler is told; None of one that failed."""
    if one.failed:
        return None
    return one.score(len(one.values)) if one.dropped is None else one.dropped
