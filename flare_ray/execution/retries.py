"""Why work failed, in a few kinds, and which of them are worth another attempt.

A lost node says nothing about the run that was on it; a bug says the same thing every time. Kinds:

    lost      the worker or its node died                      tried again
    storage   its node does not see the store any more         tried again, and counts as no attempt
    memory    it ran out of memory and was killed              tried again, fewer times
    io        a disk, a network, a service                     tried again, later each time
    input     the data or a checkpoint is not as it must be    not tried again in this sweep
    diverged  the loss is no number any more                   not tried again
    bug       any other exception                              not tried again
"""

from __future__ import annotations

from dataclasses import dataclass

from flare_ray.errors import InputError
from flare_ray.store.guard import OtherStore

CURABLE = ("lost", "memory", "io", "input")
"""Kinds that a new start of the sweep tries again by itself: what was wrong lay outside the code."""
STORAGE = "storage"
"""The kind of what says nothing about the work: its worker did not see the store any more."""
_DEATHS = {
    STORAGE: (OtherStore.__name__,),
    "memory": ("OutOfMemoryError", "running low on memory", "out of memory", "CUDA out of memory"),
    "io": ("No space left on device", "ConnectionError", "Read timed out"),
}

_LOST = {"DistBackendError", "DistNetworkError", "RayError"}
_LOST_SIGNS = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was aborted")
"""What the other workers of a group see when one of them is gone, or one when its driver is."""


@dataclass(frozen=True)
class Failure:
    """How a piece of work failed. error: for people, in one line."""

    kind: str
    error: str


@dataclass(frozen=True)
class Retries:
    """How often work is tried again.

    max_attempts: starts of work that gets no further each time. delay: seconds before the second attempt after an
    `io` failure, doubled for each later one.
    """

    max_attempts: int = 3
    delay: float = 15.0

    def wait(self, kind: str, failures: int) -> float | None:
        """Seconds until the next attempt after so many failures of a kind; None when it is given up.

        A storage that is not there is waited for without end.
        """
        if kind == STORAGE:
            return self.delay
        most = {"lost": self.max_attempts, "memory": min(2, self.max_attempts), "io": self.max_attempts + 1}
        if failures >= most.get(kind, 1):
            return None
        return self.delay * 2 ** (failures - 1) if kind == "io" else 0.0


def kind_of(error: BaseException) -> str:
    """The kind of an exception that a worker caught."""
    if isinstance(error, InputError):
        return "input"
    names = {base.__name__ for base in type(error).__mro__}
    if names & {"OutOfMemoryError", "MemoryError"}:
        return "memory"
    torn = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST_SIGNS)
    if names & _LOST or torn:
        return "lost"
    if "Diverged" in names:
        return "diverged"
    if isinstance(error, FileNotFoundError):
        return "input"
    return "io" if isinstance(error, OSError) or "Damaged" in names else "bug"


def kind_of_death(error: str) -> str:
    """The kind of a worker's end that nobody caught, from what Ray says about it."""
    for kind, signs in _DEATHS.items():
        if any(sign in error for sign in signs):
            return kind
    return "lost"
