"""Commands that work for long: every signal stops them in the same way, and their output cannot."""

from __future__ import annotations

from collections.abc import Callable

from flare_ray.console import tolerant_streams
from flare_ray.errors import STOPPED


def stoppable(work: Callable[[], int]) -> int:
    """Do a command's work, and return its exit code; `STOPPED` after Ctrl-C, SIGTERM or SIGHUP."""
    from flare_ray.execution.stopping import interruptible

    with tolerant_streams(), interruptible():
        try:
            return work()
        except KeyboardInterrupt:
            print("\nStopped. What is finished is kept: the same command goes on from here.")
            return STOPPED
