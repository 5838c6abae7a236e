"""Ctrl-C and SIGTERM: once, to stop at the next checkpoint; twice, now."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
