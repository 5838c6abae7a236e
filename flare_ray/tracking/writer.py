"""MLflow, the view of the store that people compare results in. One writer, in the driver, on its own thread.

Every run becomes exactly one MLflow run, known by its fingerprint, in the experiment `<sweep>/<task>`, under the
parent run of its cell. What is handed over is only named: the store keeps it, and it is read when its turn comes. So
a server that is away makes nobody wait and loses nothing: the writer tries again, in order, and what is left when
the driver ends is written by the next start or by `flare-ray sync`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_ray.redaction import redacted
from flare_ray.tracking.connection import CELL, Connection
from flare_ray.tracking.failures import concerns_database, is_gone, is_outage, is_refusal
from flare_ray.tracking.ledger import Ledger
from flare_ray.tracking.uris import is_server, unreachable
from flare_ray.tracking.views import View, run_view

log = logging.getLogger(__name__)

Load = Callable[[], tuple[Mapping[str, Any], Path | None] | None]
"""Gives a record and the folder with its files; None when it is not there any more, and not wanted."""
MakeView = Callable[[Mapping[str, Any]], View]
_BATCH = 64
_FLUSH_SECONDS = 20.0  # how old a cell's numbers may grow while runs keep coming
_FRESH_SECONDS = 30.0  # how long what was seen of an experiment is believed
_LONGEST_PAUSE = 30.0
_ATTEMPTS = 5  # times that a server may refuse one run while it answers otherwise


@dataclass
class _Item:
    """What was handed over. failed_at: of a failure, when; it gives way to whatever comes after it."""

    task: str
    fingerprint: str
    load: Load
    view: MakeView
    cell: str | None = None
    failed_at: str | None = None
    attempts: int = 0
    error: str = ""
    """Of the last attempt: what MLflow has of it now must be looked up."""


class _Away(Exception):
    """MLflow takes nothing now."""


@dataclass
class _Experiment:
    """A task's experiment, and which of its runs were handed over. opened: by the monotonic clock."""

    ledger: Ledger
    opened: float
    touched: set[str] = field(default_factory=set)


class Writer:
    """Writes records to MLflow in the order they come, without making the caller wait.

    uri: tracking URI. artifacts: where a sqlite tracking keeps its artifacts (a server knows its own place). tags:
    those of a task's experiment. patience: seconds that `close` waits for a server that is away. thorough: whether a
    server's artifacts are looked at too, and all that runs of earlier versions have. `errors` holds what went wrong,
    without credentials; the store has the records all the same.
    """

    def __init__(
        self,
        uri: str,
        sweep: str,
        artifacts: str | None = None,
        tags: Callable[[str], dict[str, str]] = lambda task: {},
        patience: float = 60.0,
        thorough: bool = False,
    ):
        self.uri, self.sweep, self.tags, self.patience = uri, sweep, tags, patience
        self.thorough = thorough
        self.connection = Connection(uri, artifacts)
        self.written = self.outages = self.removed = self.restored = 0
        self.errors: list[str] = []
        self._name = uuid.uuid4().hex[:12]
        self._experiments: dict[str, _Experiment] = {}
        self._pending: deque[_Item] = deque()
        self._queue: queue.Queue[_Item | None] = queue.Queue()
        self._closing = threading.Event()
        self._broken: str | None = None
        """Why MLflow's database cannot be used until somebody mends it."""
        self._ended, self._flushed = False, time.monotonic()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        task: str,
        fingerprint: str,
        load: Load,
        view: MakeView = run_view,
        cell: str | None = None,
        failed_at: float | None = None,
    ) -> None:
        """Hands over a record; returns at once. It is loaded only if MLflow does not have it yet.

        cell: the key of its cell, by which runs that differ in their seed alone are one parent's children.
        """
        at = None if failed_at is None else repr(failed_at)
        self._queue.put(_Item(task, fingerprint, load, view, cell, at))

    def close(self) -> None:
        """Waits until everything handed over is written, but for a server that is away no longer than `patience`."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        """Writes what is handed over; what MLflow cannot take now is tried again after a pause."""
        pause, deadline = 1.0, 0.0
        while self._more():
            try:
                self._advance()
                pause, deadline = 1.0, 0.0
            except _Away as away:
                self.outages += 1
                log.info("MLflow: %s", away)
                if self._broken or self.connection.replaced:
                    self.connection.reset()
                    self._experiments.clear()
                if self._closing.is_set():
                    if self._broken:
                        break
                    deadline = deadline or time.monotonic() + self.patience
                    if time.monotonic() + pause > deadline:
                        break
                    time.sleep(pause)
                else:
                    self._closing.wait(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)
            except Exception as error:  # the view must not take the sweep with it
                self._note("MLflow", error)
        self._settle()
        if self._pending:
            left, why = len(self._pending), self._pending[0].error
            cause = "MLflow's database cannot be used" if self._broken else "the server is away"
            self.errors.append(f"{left} runs wait in the store, {cause}: {why}")

    def _more(self) -> bool:
        """Takes what was handed over, waiting for it if there is nothing to do; False at the end."""
        while not self._ended:
            try:
                item = self._queue.get(block=not self._pending)
            except queue.Empty:
                break
            if item is None:
                self._ended = True
            else:
                self._pending.append(item)
        return bool(self._pending)

    def _advance(self) -> None:
        """Writes some of what is pending, and brings the cells up to date when nothing is. Raises _Away."""
        some = self._at_once(self._some())
        with ThreadPoolExecutor(self.connection.parallel) as pool:
            again = [item for item in pool.map(self._try, some) if item]
        self._pending.extendleft(reversed(again))
        if again:
            raise _Away(f"{len(self._pending)} runs wait: {again[0].error}")
        if not self._pending or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def _some(self) -> list[_Item]:
        """The next items whose experiments are open, no run twice. Raises _Away."""
        some: dict[tuple[str, str], _Item] = {}
        while self._pending and len(some) < _BATCH:
            item = self._pending[0]
            key = (item.task, item.fingerprint)
            if key in some:
                break
            if not some or item.task in self._experiments:
                if not self._opened(item):
                    continue
                some[key] = self._pending.popleft()
            else:
                break
        return list(some.values())

    def _opened(self, item: _Item) -> bool:
        """Whether an item's experiment is open; an item whose experiment cannot be is dropped. Raises _Away."""
        if item.task in self._experiments:
            return True
        try:
            name = f"{self.sweep}/{item.task}"
            experiment = self.connection.experiment(name, self.tags(item.task))
            ledger = Ledger(self.connection, name, experiment, self._name).read()
            self._experiments[item.task] = _Experiment(ledger, time.monotonic())
            return True
        except Exception as error:
            if self._may_come_back(item, error):
                raise _Away(item.error) from error
            self._pending.popleft()
            self._note(item.fingerprint, error)
            return False

    def _try(self, item: _Item) -> _Item | None:
        """Writes an item; gives it back when it must be tried again."""
        for _ in range(_ATTEMPTS):
            try:
                self._write(item)
                return None
            except Exception as error:
                if is_gone(error):
                    item.error = "another writer removed it"
                    continue  # it is there, whole: the next look finds it
                if self._may_come_back(item, error):
                    return item
                self._note(item.fingerprint, error)
                return None
        return item

    def _at_once(self, some: list[_Item]) -> list[_Item]:
        """Writes many in one piece, where MLflow is a file of our own; what must be written one by one."""
        if self.connection.bulk is None:
            return some
        left: list[_Item] = []
        for task in dict.fromkeys(item.task for item in some):
            works, items = [], []
            ledger = self._experiments[task].ledger
            for item in (item for item in some if item.task == task):
                try:
                    if ledger.has(item.fingerprint, item.failed_at):
                        self._keep(ledger, item)
                    elif work := self._work_of(item):
                        works.append(work)
                        items.append(item)
                except Exception:
                    left.append(item)  # which tells what is wrong with it
            try:
                ledger.add_many(works)
                self.written += len(works)
            except Exception as error:
                log.info("one by one: %s", _in_words(error))
                left += items
        return left

    def _write(self, item: _Item) -> None:
        at = self._experiments[item.task]
        ledger = at.ledger
        if item.error or (len(self._pending) < _BATCH and time.monotonic() - at.opened > _FRESH_SECONDS):
            ledger.look(item.fingerprint)
        if ledger.has(item.fingerprint, item.failed_at):
            self._keep(ledger, item)
        elif work := self._work_of(item):
            ledger.add(*work)
            self.written += 1

    def _keep(self, ledger: Ledger, item: _Item) -> None:
        """Removes copies of a run that is there, and writes what was deleted of it and of its cell."""
        self.removed += ledger.tidy(item.fingerprint)
        if item.cell:
            ledger.check_cell(item.cell, lambda: self._view_of(item))
        if ledger.lacks_files(item.fingerprint, self.thorough) and (work := self._work_of(item)):
            done = ledger.complete(*work)  # first: the count is read when the sum is made
            self.written += done

    def _view_of(self, item: _Item) -> View | None:
        """A record's view; None where there is none, which is noted."""
        try:
            loaded = item.load()
            return item.view(loaded[0]) if loaded else None
        except Exception as error:
            self._note(item.fingerprint, error)
            return None

    def _work_of(self, item: _Item) -> tuple[str, View, dict[str, str], Path | None] | None:
        """What is to be written of an item; None when it is not wanted any more."""
        loaded = item.load()
        if loaded is None:
            return None
        record, folder = loaded
        tags = {"sweep": self.sweep}
        tags |= {CELL: item.cell} if item.cell else {}
        tags |= {"failed_at": item.failed_at} if item.failed_at else {}
        self._experiments[item.task].touched.add(item.fingerprint)
        return item.fingerprint, item.view(record), tags, folder

    def _may_come_back(self, item: _Item, error: Exception) -> bool:
        """Whether MLflow is away; one that answers may still not be able to take this one run."""
        self._broken = self.connection.broken() if concerns_database(error) else None
        if self._broken:
            item.error = redacted(self._broken)
            return True
        if not is_outage(error):
            return False
        item.error = _in_words(error)
        item.attempts += is_server(self.uri) and is_refusal(error) and not unreachable(self.uri)
        return item.attempts < _ATTEMPTS

    def _flush(self) -> None:
        for experiment in self._experiments.values():
            try:
                self._flush_one(experiment.ledger)
            except Exception as error:
                if is_outage(error):
                    raise _Away(_in_words(error)) from error
                self._note("cells", error)
        self._flushed = time.monotonic()

    def _settle(self) -> None:
        """What another writer has written at the same time is there once in the end, and cells are up to date."""
        for task, experiment in self._experiments.items():
            try:
                if experiment.touched:
                    self.removed += experiment.ledger.settle(experiment.touched)
                self._flush_one(experiment.ledger)
            except Exception as error:
                self._note(task, error)

    def _flush_one(self, ledger: Ledger) -> None:
        ledger.flush()
        self.restored, ledger.restored = self.restored + ledger.restored, 0

    def _note(self, what: str, error: Exception) -> None:
        self.errors.append(f"{what}: {_in_words(error)}")


def _in_words(error: BaseException) -> str:
    return redacted(f"{type(error).__name__}: {error}")
