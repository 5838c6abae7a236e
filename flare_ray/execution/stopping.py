"""Ctrl-C and SIGTERM: once, to stop at the next checkpoint; twice, now.

The driver keeps a small actor that every worker asks, once, to be told when to stop: the answer comes when it is
time, so that looking whether it is there costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import ray

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Bell:
    """Answers when it is rung."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()

    async def wait(self) -> bool:
        await self.rung.wait()
        return True

    async def ring(self) -> None:
        self.rung.set()


class Bell:
    """The driver's side. name: by which workers of the same job find it."""

    def __init__(self) -> None:
        self.name = f"flare_ray_bell_{uuid.uuid4().hex}"
        made: Any = ray.remote(_Bell)
        self._actor: Any = made.options(name=self.name, num_cpus=0, max_concurrency=10_000).remote()

    def ring(self) -> None:
        """Tells every worker."""
        self._actor.ring.remote()


class Ear:
    """A worker's side: `heard()` says whether the driver wants it to stop."""

    def __init__(self, name: str | None):
        self._answer: Any = ray.get_actor(name).wait.remote() if name else None

    def heard(self) -> bool:
        """Whether it is time to stop; never when there is no bell, or it is gone with its driver."""
        if self._answer is None or not ray.wait([self._answer], timeout=0)[0]:
            return False
        try:
            return bool(ray.get(self._answer))
        except ray.exceptions.RayError:
            self._answer = None
            return False


class OnSignal:
    """While it is entered, the first SIGINT or SIGTERM calls `stop`, the second one raises KeyboardInterrupt.

    Signals reach only a process's main thread; entered in another one it does nothing.
    """

    def __init__(self, stop: Callable[[], None]):
        self.stop, self.asked = stop, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> OnSignal:
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's own would end every trial at once
        try:
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        except ValueError:
            self._before = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.stop()
