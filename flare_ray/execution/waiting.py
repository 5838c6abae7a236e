"""What waits to be started: translations, base models, and runs by base model; and which of it is most urgent."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from flare_ray.execution.durations import Durations
from flare_ray.execution.queues import Queue
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Pack, Translating

Fits = Callable[[Base | Translating], bool]
_STARTS = 2
"""A pack is worth so many starts of a worker group, as long as there is so much work."""


@dataclass
class Waiting:
    """The waiting work of a board.

    slots: stages that run at a time. leaves: asked about a run that would wait; whether it is not wanted any more.
    """

    durations: Durations
    slots: int = 1
    clock: Callable[[], float] = time.monotonic
    leaves: Callable[[Run], bool] = lambda run: False
    translations: list[Translating] = field(default_factory=list)
    queues: dict[str, Queue] = field(default_factory=dict)
    later: list[tuple[float, int, Any]] = field(default_factory=list)
    _absent: set[str] = field(default_factory=set)
    _awaited: Counter[str] = field(default_factory=Counter)
    _order: int = 0

    # ---- what comes and goes

    def add_splits(self, corpora: Collection[Corpus]) -> None:
        """Splits to translate in one stage, but those that are known already."""
        new = tuple(corpus for corpus in corpora if corpus.fingerprint not in self._absent)
        if new:
            self.translations.append(Translating(new))
            self._absent |= {corpus.fingerprint for corpus in new}

    def know(self, base: Base, stored: bool) -> None:
        """A base model that runs will wait for; stored: whether it is there."""
        if base.fingerprint not in self.queues:
            self.queues[base.fingerprint] = Queue(base, stored)

    def add(self, run: Run, first: bool = False) -> None:
        """A run. first: before those that wait already."""
        if self.leaves(run):
            return
        missing = self._missing(run)
        self._awaited.update(missing)
        self.queues[run.base.fingerprint].add(run, missing, self.durations.expected(run), first)

    def back(self, work: Run | Base | Translating) -> None:
        """Work that was started, and waits again."""
        if isinstance(work, Run):
            self.add(work, first=True)
        elif isinstance(work, Base):
            self.queues[work.fingerprint].training = False
        else:
            self.translations.append(work)

    def back_in(self, seconds: float, work: Run | Base | Translating) -> None:
        """Such work, but not before so many seconds."""
        self._order += 1  # among equals
        heapq.heappush(self.later, (self.clock() + seconds, self._order, work))

    def wake(self) -> None:
        """Lets come back what has waited long enough."""
        while self.later and self.later[0][0] <= self.clock():
            self.back(heapq.heappop(self.later)[2])

    def remove(self, run: Run) -> bool:
        """Takes a run out; whether it was here."""
        queue = self.queues[run.base.fingerprint]
        if run not in queue.runs:
            return False
        queue.remove([run])
        self._awaited.subtract(self._missing(run))
        return True

    def remove_needing(self, work: Base | Corpus) -> list[Run]:
        """Takes out the runs that need what will never be there."""
        gone: list[Run] = []
        for queue in self.queues.values():
            runs = [run for run in queue.runs if work.fingerprint in inputs(run)]
            queue.remove(runs)
            self._awaited.subtract(key for run in runs for key in self._missing(run))
            gone += runs
        return gone

    def base_stored(self, fingerprint: str) -> None:
        """A base model is there: its runs may start."""
        queue = self.queues[fingerprint]
        queue.stored, queue.training = True, False

    def translated(self, fingerprint: str) -> None:
        """A translated split is there."""
        self._absent.discard(fingerprint)
        for queue in self.queues.values():
            queue.translated(fingerprint)

    # ---- what starts

    def take(self, fits: Fits, takes: Fits, pack_size: int, start: float) -> tuple[Base | None, Any] | None:
        """The most urgent work of what fits: a translation, a base model or a pack, and the base it trains first.

        None when nothing fits, or the most urgent is not taken. start: seconds that a worker group takes to begin.
        """
        found = max(self._candidates(fits), key=lambda found: found[0], default=None)
        if found is None or not takes(found[1].base if isinstance(found[1], Queue) else found[1]):
            return None
        chosen = found[1]
        if isinstance(chosen, Translating):
            self.translations.remove(chosen)
            return None, chosen
        seconds, factor = (
            max(self._seconds() / (2 * self.slots), _STARTS * start),
            chosen.factor(self.durations),
        )
        runs = chosen.cut(seconds / factor, pack_size, rest=start / factor)
        if chosen.stored:
            return None, Pack(chosen.base, runs)
        chosen.training = True
        return (chosen.base, Pack(chosen.base, runs)) if runs else (None, chosen.base)

    def startable(self, coming: Collection[str]) -> list[Base | Translating]:
        """What may start now, or when these splits have come."""
        return [
            *(queue.base for queue in self.queues.values() if queue.may_start(coming)),
            *self.translations,
        ]

    def _candidates(self, fits: Fits) -> Iterator[tuple[float, Translating | Queue]]:
        """What could start, with the seconds of the chain of work that begins with it."""
        mean = self._seconds() / max(1, sum(map(len, self.queues.values())))
        for work in self.translations:
            awaited = sum(self._awaited[corpus.fingerprint] for corpus in work.corpora)
            if awaited and fits(work):
                yield sum(map(self.durations, work.corpora)) + awaited * mean / self.slots, work
        for queue in self.queues.values():
            if queue.training or not (queue.ready or (queue.blocked and not queue.stored)):
                continue
            if fits(queue.base):
                own = 0.0 if queue.stored else self.durations(queue.base)
                yield own + queue.expected * queue.factor(self.durations) / self.slots, queue

    def _seconds(self) -> float:
        """Of all waiting runs."""
        return sum(queue.expected * queue.factor(self.durations) for queue in self.queues.values())

    def _missing(self, run: Run) -> set[str]:
        """Translated splits that it must still wait for."""
        return {corpus.fingerprint for corpus in run.corpora} & self._absent


def inputs(run: Run) -> list[str]:
    """Fingerprints of what must be stored before a run starts."""
    return [run.base.fingerprint, *(corpus.fingerprint for corpus in run.corpora)]
