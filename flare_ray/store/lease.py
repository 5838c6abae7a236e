"""A lease: which driver works on a sweep, so that a second one started by mistake notices and waits or leaves.

    with store.lease("table1") as lease:  # raises LeaseHeld, or waits with wait=True
        …
        if not lease.held: …              # another driver has taken it over

`leases/<name>/` holds one file per holder, numbered; the highest number holds it. To take it over is to create the
next number, which only one can do, and only when the holder says that it is done, is a process of this machine that
is gone, or has not renewed its file for `ttl` seconds of the storage's clock (machines' own clocks may differ). A
holder renews its file from a thread, and sees there when a higher number has come.

What is guaranteed: exactly one holder on a folder, on NFS, and on object stores that write conditionally (S3, GCS,
Azure). Other object stores are written, waited for (`settle` seconds) and read back: two that start within that time
are told apart unless a write takes longer than it, and then at the first renewal. A holder that cannot reach the
storage for `ttl` seconds may be taken over while it works; `held` is False from then on. Two that work at once only
do work twice: finished work is kept whole and once (records.py).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType

from flare_ray.errors import InputError, Problem
from flare_ray.store.files import Files
from flare_ray.store.guard import OtherStore
from flare_ray.store.holder import TOKENS, Chain, Holder

log = logging.getLogger(__name__)
TTL = 90.0
"""Seconds without a sign of life after which a holder counts as dead."""
_BEATS = 6  # renewals within them


class LeaseHeld(InputError):
    """Another driver works on it: `holder`."""

    def __init__(self, name: str, holder: Holder):
        self.holder = holder
        found = f"another driver on {holder} works on {name}"
        super().__init__(name, [Problem("storage", found, "that one ended, or another storage")])


class Lease:
    """The right to work on `name`; a context manager, used once.

    wait: whether to wait for a holder to end, and not raise LeaseHeld. on_wait: called once with the holder waited
    for. on_lost: called once, from another thread, when another driver has taken it over, or the storage is not there
    any more (`gone`). ttl: seconds, the same for all drivers of a store. settle: seconds, see above.
    """

    def __init__(
        self,
        files: Files,
        name: str,
        wait: bool = False,
        on_wait: Callable[[Holder], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        ttl: float = TTL,
        settle: float = 2.0,
    ):
        self.files, self.name, self.wait = files, name, wait
        self.on_wait, self.on_lost = on_wait, on_lost
        self.ttl, self.settle = ttl, 0.0 if files.local else settle
        self._chain = Chain(files, name)
        self._token = uuid.uuid4().hex
        TOKENS.add(self._token)
        self._number = 0
        self._since = self._renewed = 0.0
        self._lost = False
        self.gone: OtherStore | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {name}", daemon=True)

    @property
    def held(self) -> bool:
        """Whether it is still this process's, as far as it can know."""
        fresh = time.monotonic() - self._renewed < self.ttl
        return self._number > 0 and not self._lost and not self.gone and not self._ended.is_set() and fresh

    def __enter__(self) -> Lease:
        told = False
        while (holder := self._take()) is not None:
            if not self.wait:
                raise LeaseHeld(self.name, holder)
            if not told and self.on_wait:
                self.on_wait(holder)
            told = True
            time.sleep(min(5.0, self.ttl / _BEATS))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives it back, from any thread; once more does nothing."""
        self._ended.set()
        self._thread.join(timeout=self.ttl)
        try:
            if not self._lost and self._is_mine(self._number):
                self.files.write(self._chain.place(self._number), self._content(released=True))
        except Exception as problem:  # it runs out by itself; how the work ended matters more
            log.warning("lease %s: could not be given back: %s", self.name, problem)

    def _take(self) -> Holder | None:
        """Takes it; who holds it when that did not succeed."""
        newest = self._chain.newest()
        while True:
            holder = self._chain.holder(newest)
            if holder and not holder.is_dead(self.ttl):
                return holder
            self._since, renewed, number = time.time(), time.monotonic(), newest + 1
            if self.files.create(self._chain.place(number), self._content()):
                time.sleep(self.settle)
                if self._is_mine(number):
                    self._number, self._renewed = number, renewed
                    self._forget_earlier()
                    return None
            newest = max(
                number, self._chain.newest()
            )  # another was faster; a listing on NFS may not show it yet

    def _renew(self) -> None:
        """Renews it until it ends or is lost. An error is a storage out of reach: the next time may reach it.

        A file that was damaged meanwhile is still the newest, and is written again.
        """
        while not self._ended.wait(self.ttl / _BEATS):
            started = time.monotonic()
            try:
                if not self._is_mine(self._number) and not self._is_damaged():
                    self._lost = True
                    break
                self.files.write(self._chain.place(self._number), self._content())
                self._renewed = started
            except (
                OtherStore
            ) as error:  # an empty folder has no leases either, and no one has taken them over
                self.gone = error
                break
            except Exception as error:
                log.warning("lease %s: not renewed: %s: %s", self.name, type(error).__name__, error)
        if self._lost or self.gone:
            log.warning("lease %s: %s", self.name, self.gone or "taken over by another driver")
            if self.on_lost:
                self.on_lost()

    def _is_mine(self, number: int) -> bool:
        """Whether no one has come after, and the file of this number is this process's. Raises OtherStore."""
        held = self._chain.newest() == number and self._chain.token(number) == self._token
        if not held:
            self.files.check(afresh=True)
        return held

    def _is_damaged(self) -> bool:
        """Return whether no one has come after, and this process's file says nothing any more."""
        return self._chain.newest() == self._number and self._chain.is_damaged(self._number)

    def _forget_earlier(self) -> None:
        for number in self._chain.numbers():
            if number < self._number:
                try:
                    self.files.remove(self._chain.place(number))
                except (
                    OSError
                ) as error:  # a folder in its place, or another user's: it holds nothing any more
                    log.warning("lease %s: %s stays: %s", self.name, self._chain.place(number), error)

    def _content(self, released: bool = False) -> bytes:
        return self._chain.content(self._token, self._since, released)
