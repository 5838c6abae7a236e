"""Ctrl-C, SIGTERM and SIGHUP: once, to stop at the next checkpoint; twice, now."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ECHO = 1.0
"""Seconds in which a further SIGHUP belongs to the first signal: a closing terminal sends several."""


class OnSignal:
    """While it is entered, the first signal to stop calls `stop`, the second one raises KeyboardInterrupt.

    Signals reach only a process's main thread; entered in another one it does nothing. SIGHUP stays ignored where it
    was ignored before, as by nohup.
    """

    def __init__(self, stop: Callable[[], None]):
        self.stop, self.asked = stop, False
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> OnSignal:
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's own would end every trial at once
        self._before = set_handlers(self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        restore_handlers(self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGHUP and time.monotonic() - self._first < _ECHO:
                return
            raise KeyboardInterrupt
        self.asked, self._first = True, time.monotonic()
        self.stop()


def set_handlers(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install a handler of the signals to stop; return those before it. Nothing happens outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before: dict[int, Any] = {}
    for number in _SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        before[number] = signal.signal(number, handler)
    return before


def restore_handlers(before: dict[int, Any]) -> None:
    """Install the handlers that `set_handlers` has returned."""
    for number, handler in before.items():
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, so that everything is ended in order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = set_handlers(interrupt)
    try:
        yield
    finally:
        restore_handlers(before)
