"""A driver whose Ray has died cannot continue, nor end by itself: it waits for ever. This ends it.

Everything is planned again from the store, so the remedy is to start again: the driver replaces itself by the same
command, as often as something was finished in between, and a few times when nothing was.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import psutil

from flare_ray.errors import UNREACHABLE
from flare_ray.execution.local_ray import guardian_pid, keep_ray_files

_EVERY = 1.0
_RESTARTS = "FLARE_RAY_RESTARTS"
_MOST = 3
log = logging.getLogger(__name__)


class Watchdog:
    """While it is entered, a thread looks whether the Ray that this process started is alive.

    on_death: called once from that thread with what died; it is not expected to return. stuck: whether that Ray does
    not do its work any more.
    """

    def __init__(self, on_death: Callable[[str], None]):
        self.on_death = on_death
        self.stuck: Callable[[], bool] = lambda: False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            what = self._dead()
            if what and not self._ended.is_set():
                self._act(what)
                return

    def _dead(self) -> str | None:
        """A look that fails is repeated: without this thread, a driver whose Ray dies would wait for ever."""
        try:
            return dead() or ("scheduler" if is_own() and self.stuck() else None)
        except Exception as error:
            log.warning("the watchdog could not look: %s: %s", type(error).__name__, error)
            return None

    def _act(self, what: str) -> None:
        try:
            self.on_death(what)
        except Exception:  # this thread cannot hand it to anybody, and the main thread waits for the dead Ray
            log.exception("Ray's %s has failed, and the driver cannot start again", what)
            os._exit(UNREACHABLE)


def is_own() -> bool:
    """Whether this process started the Ray that it uses."""
    import ray

    node: Any = getattr(ray._private.worker, "_global_node", None)
    return node is not None and bool(node.all_processes)


def dead() -> str | None:
    """Which process of the Ray that this process started has ended; None for a cluster that it only joined."""
    import ray

    node: Any = getattr(ray._private.worker, "_global_node", None)
    if node is None:
        return None
    for name, started in node.all_processes.items():
        if name in ("raylet", "gcs_server") and any(one.process.poll() is not None for one in started):
            return name
    return None


def is_restart() -> bool:
    """Return whether this process continues with a sweep that was running."""
    return _RESTARTS in os.environ


def start_again(finished: int) -> None:
    """Replaces this process by a new one of the same command. Returns when that did not help the last times.

    finished: pieces of work that are stored; as long as there are more of them each time, it is done without end.
    """
    count, before = (int(part) for part in os.environ.get(_RESTARTS, "0:-1").split(":"))
    count = 1 if finished > before else count + 1
    if count > _MOST:
        return
    os.environ[_RESTARTS] = f"{count}:{finished}"
    keep_ray_files()
    for child in psutil.Process().children(recursive=True):
        if child.pid == guardian_pid():
            continue  # it ends what is no child any more
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
