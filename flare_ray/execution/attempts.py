"""What is asked about work's outcome, and whether work that failed is tried again."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from flare_ray.execution.durations import Work
from flare_ray.execution.retries import Failure, Retries


class Outcomes(Protocol):
    """What the board asks and tells about work: in an execution, the store (outcomes.py)."""

    def done(self, work: Work) -> bool:
        """Whether it is finished."""

    def failure(self, work: Work) -> Failure | None:
        """What its worker wrote down about its failure."""

    def progress(self, work: Work) -> int:
        """How far unfinished work is: a number that grows with what of it is kept."""

    def failed(self, work: Work, failure: Failure) -> None:
        """It is given up, and no worker wrote so."""

    def forget(self, work: Work) -> None:
        """It is tried again: what is written about its failure no longer holds."""


class Attempts:
    """How often each piece of work has failed, by kind of failure."""

    def __init__(self, outcomes: Outcomes, retries: Retries):
        self.outcomes, self.retries = outcomes, retries
        self._failures: Counter[tuple[str, str]] = Counter()
        self._progress: dict[str, int] = {}

    def verdict(self, work: Work, death: Failure, stopping: bool) -> tuple[float | None, Failure]:
        """Seconds until it is tried again, None when it is given up; and why it failed.

        death: how its worker ended, for work that no one has written about. stopping: whether it was asked to stop.
        """
        written = self.outcomes.failure(work)
        failure = written or death
        if stopping and not written:
            return 0.0, failure
        progress = self.outcomes.progress(work)
        if progress and progress != self._progress.get(work.fingerprint):
            self._failures[work.fingerprint, failure.kind] = 0  # it got further
            self._progress[work.fingerprint] = progress
        self._failures[work.fingerprint, failure.kind] += 1
        wait = self.retries.wait(failure.kind, self._failures[work.fingerprint, failure.kind])
        if wait is None and not written:
            self.outcomes.failed(work, failure)
        elif wait is not None and written:
            self.outcomes.forget(work)
        return wait, failure
