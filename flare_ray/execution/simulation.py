"""A sweep without the work: the real board and its decisions, drawn durations and failures, and a clock that jumps.

    found = simulate(stages, slots=64, durations=durations, rng=random.Random(1))
    print(found.makespan, found.busy)

What a place does: it starts a worker group, trains the base model where the stage has one to train, then runs one
after another, unless the worker dies on the way. A group that is done continues with the next stage, if one is ready.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from flare_ray.execution.board import Board, Stage, works_of
from flare_ray.execution.durations import Durations, Work
from flare_ray.execution.retries import Failure, Retries
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Stages, Translating

Seconds = Callable[[Work], float]


@dataclass
class Simulated:
    """What came out, in seconds of the simulated clock.

    makespan: from the start to the last stage's end. drained: when the last waiting run was handed to a worker
    group. busy: share of the places' time until then in which they had a stage; useful: the same without the starts
    of worker groups and without work that was lost. decisions: stages started. executed: how often each piece of
    work was begun.
    """

    makespan: float = 0.0
    drained: float = 0.0
    busy: float = 0.0
    useful: float = 0.0
    decisions: int = 0
    executed: Counter[str] = field(default_factory=Counter)
    finished: set[str] = field(default_factory=set)
    failed: dict[str, Failure] = field(default_factory=dict)


def simulate(
    stages: Stages,
    slots: int,
    seconds: Seconds,
    rng: random.Random,
    expected: Seconds = lambda work: 1.0,
    start_seconds: float = 60.0,
    hours_between_deaths: float = math.inf,
    bugs: float = 0.0,
    pack_size: int = 32,
    max_attempts: int = 3,
    next_seconds: float = 3.0,
) -> Simulated:
    """Executes stages on `slots` places.

    seconds: what work truly takes; expected: what is thought before. start_seconds: of a worker group; next_seconds:
    until one that is there begins with another stage. hours_between_deaths: mean hours of one place's work until its
    worker dies; what it was in is lost. bugs: share of runs that fail by themselves.
    """
    world = _World(slots, seconds, rng, (start_seconds, next_seconds), hours_between_deaths * 3600, bugs)
    durations = Durations(expected)
    world.board = Board.of(
        stages,
        world,
        retries=Retries(max_attempts),
        durations=durations,
        slots=slots,
        pack_size=pack_size,
        start_seconds=start_seconds,
        clock=lambda: world.now,
    )
    world.durations = durations
    world.run()
    return world.result


class _World:
    """Workers, store and clock of a simulation; the board's `Outcomes`."""

    board: Board
    durations: Durations

    def __init__(
        self,
        slots: int,
        seconds: Seconds,
        rng: random.Random,
        starts: tuple[float, float],
        between_deaths: float,
        bugs: float,
    ):
        self.slots, self.seconds, self.rng, self.starts = slots, seconds, rng, starts
        self._there = 0  # worker groups without a stage
        self.between_deaths, self.bugs = between_deaths, bugs
        self.now = 0.0
        self._changed = True  # whether a stage began or ended since it was last looked whether runs wait
        self.result = Simulated()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._busy_since: dict[str, float] = {}
        self._occupied = self._worked = 0.0
        self._faulty: dict[str, bool] = {}

    # ---- what the board asks

    def done(self, work: Work) -> bool:
        return work.fingerprint in self.result.finished

    def failure(self, work: Work) -> Failure | None:
        return self.result.failed.get(work.fingerprint)

    def progress(self, work: Work) -> int:
        return 0

    def failed(self, work: Work, failure: Failure) -> None:
        self.result.failed[work.fingerprint] = failure

    def forget(self, work: Work) -> None:
        del self.result.failed[work.fingerprint]

    # ---- the clock

    def run(self) -> None:
        result = self.result
        while not self.board.done:
            while len(self.board.running) < self.slots and (stage := self.board.start()):
                self._begin(stage)
            self._there = 0
            if self._changed and not result.drained and not self._waiting():
                result.drained = self.now
                self._sum_up()
            self._changed = False
            if not self._events:  # everything left waits for its time
                self.now += 1
                continue
            self.now, _, event = heapq.heappop(self._events)
            event()
        result.makespan = self.now

    def _waiting(self) -> bool:
        """Whether a run has still to be handed to a worker group."""
        running = [stage.work for stage in self.board.running.values()]
        handed = sum(len(work.runs) for work in running if not isinstance(work, Base | Translating))
        return self.board.left > handed

    def _sum_up(self) -> None:
        going_on = sum(self.now - since for since in self._busy_since.values())
        whole = self.slots * self.now or 1.0
        self.result.busy = (self._occupied + going_on) / whole
        self.result.useful = self._worked / whole

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, event))

    def _begin(self, stage: Stage) -> None:
        self.result.decisions += 1
        self._changed = True
        self._busy_since[stage.key] = self.now
        death = self.now + (
            self.rng.expovariate(1 / self.between_deaths) if self.between_deaths < math.inf else math.inf
        )
        clock = self.now + self.starts[self._there > 0]
        self._there = max(0, self._there - 1)
        self._at(clock, lambda: self.board.starts.works(stage.key))
        for work in works_of(stage):
            took = self.seconds(work)
            self.result.executed[work.fingerprint] += 1
            if clock + took > death:
                self._at(death, lambda: self._end(stage, "the worker died"))
                return
            clock += took
            self._at(clock, lambda work=work, took=took: self._finished(work, took))  # type: ignore[misc]
        self._at(clock, lambda: self._end(stage, None))

    def _finished(self, work: Work, seconds: float) -> None:
        self._worked += seconds
        if isinstance(work, Run) and self._faulty.setdefault(work.fingerprint, self.rng.random() < self.bugs):
            self.result.failed[work.fingerprint] = Failure("bug", "drawn")
            return
        self.result.finished.add(work.fingerprint)
        self.durations.note(work, seconds)
        if isinstance(work, Base):
            self.board.base_stored(work.fingerprint)
        elif isinstance(work, Corpus):
            self.board.translated(work.fingerprint)

    def _end(self, stage: Stage, error: str | None) -> None:
        self._occupied += self.now - self._busy_since.pop(stage.key)
        self._there += error is None and not isinstance(stage.work, Translating)
        self._changed = True
        self.board.finish(stage.key, error)
