"""Runs that wait for one base model, and packs cut from them when there is a free place.

Packs are not planned beforehand: each is cut when it starts, from what is left then. While there is much work the
packs are large, towards the end they get small, so that all places are busy until the last packs (guided
self-scheduling, Polychronopoulos & Kuck 1987).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from flare_ray.execution.durations import Durations
from flare_ray.plan.grid import Base, Run


@dataclass
class Queue:
    """The waiting runs of one base model.

    stored: whether the base model is; training: whether a stage is about to store it. blocked: runs whose translated
    splits are not all there, with those that are missing. seconds: expected of each waiting run, before anything was
    seen; expected: their sum.
    """

    base: Base
    stored: bool
    training: bool = False
    ready: deque[Run] = field(default_factory=deque)
    blocked: dict[str, tuple[Run, set[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    expected: float = 0.0

    def __len__(self) -> int:
        return len(self.ready) + len(self.blocked)

    def factor(self, durations: Durations) -> float:
        """By which expected seconds are to be scaled; the runs of a queue have one model and one task."""
        some = self.ready[0] if self.ready else next((run for run, _ in self.blocked.values()), None)
        return durations.factor(some) if some else 1.0

    def add(self, run: Run, missing: Collection[str], seconds: float, first: bool = False) -> None:
        """Another run, with the splits that it must wait for. first: before those that wait already."""
        self.seconds[run.fingerprint] = seconds
        self.expected += seconds
        if missing:
            self.blocked[run.fingerprint] = (run, set(missing))
        elif first:
            self.ready.appendleft(run)
        else:
            self.ready.append(run)

    def translated(self, corpus: str) -> None:
        """A split is there now."""
        for key, (run, missing) in list(self.blocked.items()):
            missing.discard(corpus)
            if not missing:
                del self.blocked[key]
                self.ready.append(run)

    def may_start(self, coming: Collection[str]) -> bool:
        """Whether a stage of it could start now, or as soon as these splits are there."""
        if self.training:
            return False
        if not self.stored:
            return len(self) > 0
        return bool(self.ready) or any(missing <= set(coming) for _, missing in self.blocked.values())

    def cut(self, seconds: float, most: int, rest: float) -> tuple[Run, ...]:
        """Ready runs for a pack of about so many expected seconds, at least one and at most `most`.

        rest: when less than this would be left, it goes along.
        """
        taken: list[Run] = []
        whole = 0.0
        while self.ready and len(taken) < most:
            following = self.seconds[self.ready[0].fingerprint]
            if taken and whole + following > seconds and self.expected >= rest:
                break
            run = self.ready.popleft()
            self._leave(run)
            whole += following
            taken.append(run)
        return tuple(taken)

    def remove(self, runs: Collection[Run]) -> None:
        """Takes out runs that will not be executed."""
        gone = {run.fingerprint for run in runs}
        for run in [run for run in self.ready if run.fingerprint in gone]:
            self.ready.remove(run)
            self._leave(run)
        for key in gone & self.blocked.keys():
            self._leave(self.blocked.pop(key)[0])

    @property
    def runs(self) -> list[Run]:
        """Every waiting run."""
        return [*self.ready, *(run for run, _ in self.blocked.values())]

    def _leave(self, run: Run) -> None:
        self.expected -= self.seconds.pop(run.fingerprint)
