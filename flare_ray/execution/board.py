"""The board: which stage may start next, what became of the started ones. Pure logic; knows neither Ray nor disk.

A pack starts when its base model and its translated splits are stored; there is no other order, and no barrier. A
pack whose worker died comes back without what it finished, and the run it died in is tried again a bounded number of
times, so that one poisonous run cannot take the others with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Pack, Stages, Translating

Work = Run | Base | Corpus


class Outcomes(Protocol):
    """What the board asks and tells about work: in an execution, the store (outcomes.py)."""

    def settled(self, work: Work) -> bool:
        """Whether it is finished, or its worker wrote down why not."""

    def reason(self, work: Work) -> str | None:
        """What is written about its failure."""

    def failed(self, work: Work, error: str) -> None:
        """It failed, and no worker lived to write so."""


@dataclass(frozen=True)
class Stage:
    """A started or startable piece of work: a language's translations, a base model, or a pack.

    first: the base model that a pack trains itself before its runs, being the only one that needs it: one worker
    group starts instead of two.
    """

    key: str
    work: Translating | Base | Pack
    first: Base | None = None

    @property
    def label(self) -> str:
        """For people."""
        return self.work.label


@dataclass
class Board:
    """State of a sweep's stages."""

    bases: list[Base]
    packs: list[Pack]
    outcomes: Outcomes
    max_attempts: int = 2
    translations: list[Translating] = field(default_factory=list)
    running: dict[str, Stage] = field(default_factory=dict)
    _attempts: Counter[str] = field(default_factory=Counter)
    _started: int = 0

    @classmethod
    def of(cls, stages: Stages, outcomes: Outcomes, max_attempts: int) -> Board:
        """The board of a plan's stages."""
        return cls(list(stages.bases), list(stages.packs), outcomes, max_attempts, list(stages.translations))

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left."""
        return not (self.running or self.translations or self.bases or self.packs)

    def start(self) -> Stage | None:
        """The next stage, now counted as running; None when everything left waits for something that runs."""
        first, work = self._next()
        if work is None:
            return None
        self._started += 1
        stage = Stage(f"{_KINDS[type(work)]}-{self._started:04d}", work, first)
        self.running[stage.key] = stage
        return stage

    def _next(self) -> tuple[Base | None, Translating | Base | Pack | None]:
        """The start of the longest chain: translations, the base model that most runs wait for, the largest pack.

        A base model with one pack comes with that pack, once the pack's translations are there.
        """
        if self.translations:
            return None, self.translations.pop(0)
        absent = self._absent()
        ready = [pack for pack in self.packs if _corpora([pack]).isdisjoint(absent)]
        if self.bases:
            waiting = Counter(fp for pack in self.packs for fp in [pack.base.fingerprint] * len(pack.runs))
            base = max(self.bases, key=lambda b: waiting[b.fingerprint])
            self.bases.remove(base)
            mine = [pack for pack in self.packs if pack.base.fingerprint == base.fingerprint]
            if len(mine) != 1 or mine[0] not in ready:
                return None, base
            self.packs.remove(mine[0])
            return base, mine[0]
        training = {stage.work.fingerprint for stage in self.running.values() if isinstance(stage.work, Base)}
        ready = [pack for pack in ready if pack.base.fingerprint not in training]
        if not ready:
            return None, None
        pack = max(ready, key=lambda p: len(p.runs))
        self.packs.remove(pack)
        return None, pack

    def _absent(self) -> set[str]:
        """Translated splits that are still made."""
        running = [stage.work for stage in self.running.values() if isinstance(stage.work, Translating)]
        return {corpus.fingerprint for work in running for corpus in work.corpora}

    def finish(self, key: str, error: str | None) -> None:
        """A stage ended, by itself or (with an error) with its worker group."""
        stage = self.running.pop(key)
        if isinstance(stage.work, Translating):
            self._translated(stage.work, error or "the trial ended without a record of this split")
            return
        if isinstance(stage.work, Base):
            if error is not None:
                self._base_failed(stage.work, error)
            return
        if stage.first and (self.outcomes.reason(stage.first) or not self.outcomes.settled(stage.first)):
            self.packs.append(stage.work)  # none of its runs was reached
            self._base_failed(stage.first, error or "the trial ended without a record of its base model")
            return
        left = [run for run in stage.work.runs if not self.outcomes.settled(run)]
        if left:
            self._again(stage.work, left, error or "the trial ended without a record of this run")

    def _translated(self, work: Translating, error: str) -> None:
        """What is not settled is tried again, then given up with the runs that need it."""
        left = [corpus for corpus in work.corpora if not self.outcomes.settled(corpus)]
        again = [corpus for corpus in left if self._attempted(corpus) < self.max_attempts]
        for corpus in left:
            if corpus not in again:
                self.outcomes.failed(corpus, error)
        if again:
            self.translations.append(Translating(tuple(again)))
        for corpus in work.corpora:
            if reason := None if corpus in again else self.outcomes.reason(corpus):
                self._without(corpus, f"its translation failed ({corpus.label}): {reason}")

    def _without(self, corpus: Corpus, error: str) -> None:
        """Fails the runs that need a split which cannot be made; the others of their packs stay."""
        for pack in [pack for pack in self.packs if corpus.fingerprint in _corpora([pack])]:
            self.packs.remove(pack)
            self._fail([run for run in pack.runs if corpus in run.corpora], error)
            if rest := tuple(run for run in pack.runs if corpus not in run.corpora):
                self.packs.append(Pack(pack.base, rest))
        needed = {pack.base.fingerprint for pack in self.packs}
        self.bases = [base for base in self.bases if base.fingerprint in needed]

    def _attempted(self, work: Base | Run | Corpus) -> int:
        self._attempts[work.fingerprint] += 1
        return self._attempts[work.fingerprint]

    def _base_failed(self, base: Base, error: str) -> None:
        attempts = self._attempted(base)
        if not self.outcomes.settled(base):
            if attempts < self.max_attempts:
                self.bases.append(base)
                return
            self.outcomes.failed(base, error)
        for pack in [pack for pack in self.packs if pack.base.fingerprint == base.fingerprint]:
            self.packs.remove(pack)
            why = self.outcomes.reason(base) or error
            self._fail(pack.runs, f"its base model failed ({base.label}): {why}")

    def _again(self, pack: Pack, left: list[Run], error: str) -> None:
        """Runs are executed in order, so the first one left is the one the worker died in."""
        first = left[0]
        if self._attempted(first) >= self.max_attempts:
            self._fail([first], error)
            left = left[1:]
        if left:
            self.packs.append(Pack(pack.base, tuple(left)))

    def _fail(self, runs: Iterable[Run], error: str) -> None:
        for run in runs:
            self.outcomes.failed(run, error)


_KINDS: dict[type, str] = {Translating: "translation", Base: "base", Pack: "pack"}


def _corpora(packs: Iterable[Pack]) -> set[str]:
    return {corpus.fingerprint for pack in packs for run in pack.runs for corpus in run.corpora}
