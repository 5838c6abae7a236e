"""A sweep's searches on the board: what they want is added to it, what ends there is told to them.

When a search is done, the configuration that it selected is run with all seeds, and what was selected, by what and
over how many, is written to the store for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_ray import registry
from flare_ray.execution.board import Board
from flare_ray.execution.pruning import Curve
from flare_ray.execution.sampling import points
from flare_ray.execution.search import Rules, Search
from flare_ray.plan.grid import Run
from flare_ray.plan.search import Question
from flare_ray.plan.stages import Stages
from flare_ray.store import Damaged, Store

_ENUMERATED = 500
"""Points of a space up to which finished runs of a grid are looked for."""


@dataclass(frozen=True)
class Asked:
    """A question, by whom it is searched, and the seeds that its answer is run with."""

    question: Question
    sampler: str
    seeds: tuple[int, ...]

    @property
    def rules(self) -> Rules:
        """How the search goes."""
        section = self.question.section
        return Rules(
            section.configurations,
            self.question.seeds,
            section.parallel,
            section.halving,
            self.sampler,
            rungs=tuple(sorted(section.rungs)),
        )

    @property
    def place(self) -> str:
        """Where in the store its answer is written."""
        return f"searches/{self.question.fingerprint}/{self.sampler}.selected.json"

    @property
    def terms(self) -> dict[str, Any]:
        """What its answer depends on beside the question: one found on other terms is none."""
        rules = self.rules
        return {"configurations": rules.configurations, "halving": rules.factor, "rungs": list(rules.rungs)}


def asked(questions: Iterable[Question], seeds: Sequence[int]) -> list[Asked]:
    """Every search of a sweep: each question, and once more at random where a baseline is wanted."""
    return [
        Asked(question, sampler, tuple(seeds))
        for question in questions
        for sampler in question.section.samplers
    ]


class Searches:
    """All searches of one execution.

    planned: fingerprints of the runs of the sweep's grid. plan: the stages of some runs, by what the store has.
    objective: of a finished run, from its record: its value, and those of its validations. given_up: whether a run
    failed earlier and is left alone.
    """

    def __init__(
        self,
        every: Sequence[Asked],
        store: Store,
        planned: Collection[str],
        plan: Callable[[Sequence[Run]], Stages],
        objective: Callable[[Mapping[str, Any]], tuple[float, Curve]],
        given_up: Callable[[Run], bool],
        optuna_storage: Any = None,
    ):
        self.store, self.plan, self.objective, self.given_up = store, plan, objective, given_up
        self._finished = store.finished("runs")
        self._known_runs = self._finished | set(planned)
        self._searches = [
            (one, Search(one.question, one.rules, store, self._known(one.question), optuna_storage))
            for one in every
        ]
        self._on_board: set[str] = set()
        self._answered: set[str] = set()
        self._asked: dict[str, Run] = {}
        self._gone: set[str] = set()
        self._kept = set(planned)
        self.watched: set[str] = set()
        """Fingerprints of runs whose validations decide whether they continue."""

    def attach(self, board: Board, stages: Stages, on_added: Callable[[Stages], None]) -> None:
        """Lets a board that has these stages be filled by the searches. on_added: told of each addition."""
        self.board, self.on_added = board, on_added
        self._on_board = {run.fingerprint for run in stages.todo}
        board.on_settled = self._settled
        self._pump()

    def _known(self, question: Question) -> list[dict[str, Any]]:
        """Configurations whose runs a grid has finished or will finish, with every seed."""
        every = points(question.space) or []
        if not self._known_runs or len(every) > _ENUMERATED:
            return []
        return [
            config
            for config in every
            if all(
                run.fingerprint in self._known_runs
                for seed in question.seeds
                for run in question.runs(config, seed)
            )
        ]

    def _settled(self, run: Run, finished: bool) -> None:
        self.watched.discard(run.fingerprint)
        if finished:
            self._finished.add(run.fingerprint)
        elif run.fingerprint in self._gone:
            return  # dropped: nobody waits for it, and it has not failed
        trained = registry.load("methods", run.cell.method).trains  # not all runs of the grid beside are
        found = self._value(run) if finished and trained else (None, ())
        for _, search in self._searches:
            search.settled(run, *found)
        self._pump()

    def validated(self, run: Run, share: float, value: float) -> list[tuple[str, Run]]:
        """A run has come so far in its training; runs that nobody wants any more, and the stages that are at them."""
        for _, search in self._searches:
            search.validated(run, share, value)
        gone = [self._asked[key] for key in sorted(self.watched) if not self._wanted(key)]
        told = []
        for one in gone:
            self.watched.discard(one.fingerprint)
            self._on_board.discard(one.fingerprint)
            self._gone.add(one.fingerprint)
            if stage := self.board.drop(one):
                told.append((stage, one))
        self._pump()
        return told

    def _wanted(self, run: str) -> bool:
        return run in self._kept or any(search.wants(run) for _, search in self._searches)

    def _pump(self) -> None:
        """Adds to the board what the searches want, until they all wait or are done."""
        again = True
        while again:
            again = False
            for one, search in self._searches:
                wanted = search.wanted()
                if search.done and one.place not in self._answered:
                    self._answered.add(one.place)
                    answer = self._answer(one, search)
                    self._kept |= {run.fingerprint for run in answer}
                    wanted += answer
                again |= self._want(search, wanted)

    def _want(self, search: Search, runs: Sequence[Run]) -> bool:
        """Whether a run was finished already, so that the search may want more."""
        new = []
        known = False
        for run in runs:
            if run.fingerprint in self._finished:
                search.settled(run, *self._value(run))
                known = True
            elif run.fingerprint not in self._on_board and self.given_up(run):
                search.settled(run, None)
                known = True
            elif run.fingerprint not in self._on_board:
                self._on_board.add(run.fingerprint)
                self._gone.discard(run.fingerprint)
                new.append(run)
                self._asked[run.fingerprint] = run
                if search.rules.rungs and run.fingerprint not in self._kept:
                    self.watched.add(run.fingerprint)
        if new:
            stages = self.plan(new)
            self.on_added(stages)
            self.board.add(stages.todo, stages.bases, stages.translations)
            for run in stages.done:  # by another driver, since this one looked
                self._settled(run, True)
                known = True
        return known

    def _answer(self, one: Asked, search: Search) -> list[Run]:
        """Writes down what was selected; its runs."""
        selected = search.selected()
        facts: dict[str, Any] = {
            "label": one.question.label,
            "sampler": one.sampler,
            "terms": one.terms,
            "configurations": len(search.race.candidates),
            "failed": search.failed(),
            "seeds": list(one.question.seeds),
            "selected": None,
        }
        if selected is not None:
            facts |= {"selected": dict(selected[0]), "validation": selected[1]}
        facts["tried"] = [
            {"config": dict(entry.config), "values": entry.values}
            | ({} if entry.dropped is None else {"dropped": entry.dropped})
            for entry in search.race.candidates
        ]
        self.store.write_json(one.place, facts)
        if selected is None:
            return []
        return [run for seed in one.seeds for run in one.question.runs(selected[0], seed)]

    def _value(self, run: Run) -> tuple[float, Curve]:
        return self.objective(self.store.record("runs", run.fingerprint))


def answers(every: Iterable[Asked], store: Store) -> list[tuple[Asked, dict[str, Any]]]:
    """What the searches that are done have selected, as far as the store has it whole (see `damaged_answers`)."""
    found = []
    for one in every:
        try:
            facts = _read_answer(one, store)
        except (FileNotFoundError, Damaged):
            continue
        if facts["terms"] == one.terms and facts["selected"] is not None:
            found.append((one, facts))
    return found


def damaged_answers(every: Iterable[Asked], store: Store) -> dict[str, str]:
    """Return the places of answers that are not what was written, with what is wrong with each."""
    problems = {}
    for search in every:
        try:
            _read_answer(search, store)
        except FileNotFoundError:
            continue
        except Damaged as error:
            problems[search.place] = str(error)
    return problems


def _read_answer(one: Asked, store: Store) -> dict[str, Any]:
    """Return what a search has written down at its end. Raises FileNotFoundError, Damaged."""
    answer = store.read_json(one.place)
    if not isinstance(answer, dict) or "selected" not in answer or not isinstance(answer.get("terms"), dict):
        raise Damaged("is not the answer of a search")
    return answer
