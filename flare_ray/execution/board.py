"""The board: which stage may start next, what became of the started ones. Pure logic; knows neither Ray nor disk.

A run may start when its base model and its translated splits are stored; there is no other order, and no barrier. The
start of the longest chain of work goes first. A stage whose worker died leaves what it had not finished to a later
one; the run it died in is tried again as often as its kind of failure deserves, so that one poisonous run cannot take
the others with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flare_ray.execution.attempts import Attempts, Outcomes
from flare_ray.execution.durations import Durations, Starts, Work
from flare_ray.execution.retries import STORAGE, Failure, Retries, kind_of_death
from flare_ray.execution.waiting import Fits, Waiting, inputs
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Pack, Stages, Translating
from flare_ray.store.guard import OtherStore


def _whatever(work: Base | Translating) -> bool:
    return True


@dataclass(frozen=True)
class Stage:
    """A started or startable piece of work: a language's translations, a base model, or a pack.

    first: the base model that a pack trains before its runs, in one worker group instead of two.
    """

    key: str
    work: Translating | Base | Pack
    first: Base | None = None

    @property
    def label(self) -> str:
        """For people."""
        return self.work.label

    @property
    def kind(self) -> str:
        """`translation`, `base` or `pack`."""
        return _KINDS[type(self.work)]

    @property
    def needs(self) -> Base | Translating:
        """What decides on its resources."""
        return self.work.base if isinstance(self.work, Pack) else self.work


@dataclass
class Board:
    """State of a sweep's stages.

    durations: how long work will take, as far as known. slots: stages that run at a time. pack_size: most runs of a
    pack. start_seconds: what starting a worker group costs, corrected by what is seen. on_settled: told of each run
    that is finished (True) or given up (False).
    """

    outcomes: Outcomes
    retries: Retries = field(default_factory=Retries)
    durations: Durations = field(default_factory=Durations)
    slots: int = 1
    pack_size: int = 32
    start_seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    on_settled: Callable[[Run, bool], None] = lambda run, finished: None
    running: dict[str, Stage] = field(default_factory=dict)
    stopping: bool = False
    _dropped: set[str] = field(default_factory=set)
    _hopeless: dict[str, Failure] = field(default_factory=dict)
    _left: int = 0
    _started: int = 0

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.outcomes, self.retries)
        self.starts = Starts(self.start_seconds, self.clock)
        self.waiting = Waiting(self.durations, self.slots, self.clock, self._leaves)

    @classmethod
    def of(cls, stages: Stages, outcomes: Outcomes, **settings: Any) -> Board:
        """The board of a plan's stages."""
        board = cls(outcomes, **settings)
        board.add(stages.todo, stages.bases, stages.translations)
        return board

    def add(
        self,
        runs: Iterable[Run],
        bases: Iterable[Base] = (),
        translations: Iterable[Translating] = (),
    ) -> None:
        """More runs, none of them known already; base models and splits that they need and that are not stored."""
        for work in translations:
            self.waiting.add_splits([one for one in work.corpora if one.fingerprint not in self._hopeless])
        absent = {base.fingerprint for base in bases}
        for run in runs:
            self.waiting.know(run.base, stored=run.base.fingerprint not in absent)
            if run.fingerprint in self._dropped:
                self._dropped.discard(
                    run.fingerprint
                )  # a worker is still at it: its stage's end brings it back
                continue
            self._left += 1
            if why := next(filter(None, map(self._hopeless.get, inputs(run))), None):
                self._give_up([run], why)
            else:
                self.waiting.add(run)

    @property
    def done(self) -> bool:
        """Whether nothing runs and, unless the sweep is being stopped, nothing is left."""
        return not self.running and (self.stopping or not self.left)

    @property
    def left(self) -> int:
        """Runs that are neither finished nor given up."""
        return self._left

    def start(self, fits: Fits = _whatever, takes: Fits = _whatever) -> Stage | None:
        """The next stage, now counted as running; None when everything left must wait, or the next is not taken.

        fits: whether there is room for a stage that needs what such work needs. takes: whether who asks can do such
        work; if not, nothing starts.
        """
        if self.stopping:
            return None
        self.waiting.wake()
        found = self.waiting.take(fits, takes, self.pack_size, self.starts.seconds)
        if found is None:
            return None
        first, work = found
        self._started += 1
        stage = Stage(f"{_KINDS[type(work)]}-{self._started:05d}", work, first)
        self.running[stage.key] = stage
        self.starts.begin(stage.key)
        return stage

    def beside(self, work: Translating) -> list[Base | Translating]:
        """What may start while a translation continues: now, or when other ones that continue are done."""
        others = [stage.work for stage in list(self.running.values()) if isinstance(stage.work, Translating)]
        coming = {corpus.fingerprint for one in others if one != work for corpus in one.corpora}
        return self.waiting.startable(coming)

    @property
    def translating(self) -> bool:
        """Whether a translation has begun and continues. From any thread."""
        return any(
            isinstance(stage.work, Translating) and self.starts.begun(key)
            for key, stage in list(self.running.items())
        )

    def drop(self, run: Run) -> str | None:
        """A run is not wanted any more. The key of the stage that is at it, or will be: it has to be told."""
        stages = [key for key, stage in self.running.items() if run in getattr(stage.work, "runs", ())]
        if self.waiting.remove(run):
            self._settled(run, False)
            return None
        self._dropped.add(run.fingerprint)
        return next(iter(stages), None)

    def _leaves(self, run: Run) -> bool:
        """Whether a run is dropped: then it is settled, unless it has come to its end all the same."""
        if run.fingerprint in self._dropped:
            self._dropped.discard(run.fingerprint)
            self._settled(run, False)
            return True
        return False

    # ---- what becomes of it

    def base_stored(self, fingerprint: str) -> None:
        """A base model is there; its runs may start, though the stage that trained it continues."""
        self.waiting.base_stored(fingerprint)

    def translated(self, fingerprint: str) -> None:
        """A translated split is there, though the stage that makes it may continue with others."""
        self.waiting.translated(fingerprint)

    def finish(self, key: str, error: str | None = None) -> None:
        """A stage ended, by itself or (with an error) with its worker group.

        Raises OtherStore when no group sees the store any more.
        """
        stage = self.running.pop(key)
        if isinstance(stage.work, Translating):
            self.starts.anew()
        began = self.starts.end(key)
        death = Failure(kind_of_death(error), error) if error else _SILENT
        if not began and self._never_began(stage):
            return
        if death.kind == STORAGE and not began and not all(map(self.outcomes.done, works_of(stage))):
            raise OtherStore(death.error)  # one group after another; the work has nothing to do with it
        if isinstance(stage.work, Translating):
            self._finish_translations(stage.work, death)
        elif isinstance(stage.work, Base):
            self._finish_base(stage.work, death)
        elif stage.first and not self._is_stored(stage.first):
            for run in stage.work.runs:  # none was reached
                self.waiting.back(run)
            self._finish_base(stage.first, death)
        else:
            self._finish_runs(stage.work.runs, death)

    def _never_began(self, stage: Stage) -> bool:
        """Whether a stage is put back whose worker group ended before it began: that says nothing about its work.

        It waits, longer each time; when no group begins any more, the reason is charged to the work after all.
        """
        works = works_of(stage)
        left = [work for work in works if not self.outcomes.done(work)]
        if not left or self.starts.false >= _FALSE_STARTS:
            return False
        wait = _FALSE_START_SECONDS * 2**self.starts.false
        self.starts.false += 1
        again = tuple(work for work in left if isinstance(work, Corpus))
        if again:
            self.waiting.back_in(wait, Translating(again))
        for work in works:
            if work in left and not isinstance(work, Corpus):
                self.waiting.back_in(wait, work)
            elif work not in left:
                self._is_done(work)
        return True

    def _is_done(self, work: Work) -> None:
        """A piece of work was finished, by whomever."""
        if isinstance(work, Run):
            self._settled(work, True)
        elif isinstance(work, Base):
            self.base_stored(work.fingerprint)
        else:
            self.translated(work.fingerprint)

    def _finish_translations(self, work: Translating, death: Failure) -> None:
        again: dict[float, list[Corpus]] = {}
        for corpus in work.corpora:
            if self.outcomes.done(corpus):
                self.translated(corpus.fingerprint)
                continue
            wait, failure = self.attempts.verdict(corpus, death, self.stopping)
            if wait is not None:
                again.setdefault(wait, []).append(corpus)
                continue
            why = Failure(failure.kind, f"its translation failed ({corpus.label}): {failure.error}")
            self._lost(corpus, why)
        for wait, corpora in again.items():
            self.waiting.back_in(wait, Translating(tuple(corpora)))

    def _is_stored(self, base: Base) -> bool:
        if self.waiting.queues[base.fingerprint].stored or self.outcomes.done(base):
            self.base_stored(base.fingerprint)
            return True
        return False

    def _finish_base(self, base: Base, death: Failure) -> None:
        if self._is_stored(base):
            return
        wait, failure = self.attempts.verdict(base, death, self.stopping)
        if wait is not None:
            self.waiting.back_in(wait, base)
        else:
            self._lost(base, Failure(failure.kind, f"its base model failed ({base.label}): {failure.error}"))

    def _finish_runs(self, runs: Iterable[Run], death: Failure) -> None:
        """Runs are executed in order: the first one left is the one that the worker died in."""
        in_death = not self.stopping
        for run in runs:
            if self.outcomes.done(run):
                self._dropped.discard(run.fingerprint)
                self._settled(run, True)
                continue
            if self._leaves(run):
                continue
            written = self.outcomes.failure(run)
            if not (written or in_death):
                self.waiting.back(run)
                continue
            in_death = in_death and written is not None
            wait, _ = self.attempts.verdict(run, death, self.stopping)
            if wait is None:
                self._settled(run, False)
            else:
                self.waiting.back_in(wait, run)

    def _lost(self, work: Base | Corpus, why: Failure) -> None:
        """What needs it cannot be executed."""
        self._hopeless[work.fingerprint] = why
        self._give_up(self.waiting.remove_needing(work), why)

    def _give_up(self, runs: Iterable[Run], why: Failure) -> None:
        for run in runs:
            self.outcomes.failed(run, why)
            self._settled(run, False)

    def _settled(self, run: Run, finished: bool) -> None:
        self._left -= 1
        self.on_settled(run, finished)


def works_of(stage: Stage) -> list[Work]:
    """What a stage's worker group does, in order."""
    if isinstance(stage.work, Translating):
        return list(stage.work.corpora)
    if isinstance(stage.work, Base):
        return [stage.work]
    return [*([stage.first] if stage.first else []), *stage.work.runs]


_FALSE_STARTS = 4
_FALSE_START_SECONDS = 5.0
_KINDS: dict[type, str] = {Translating: "translation", Base: "base", Pack: "pack"}
_SILENT = Failure("lost", "the trial ended without a record of this")
