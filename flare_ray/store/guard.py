"""A check before each write that the storage is still there: behind a mount that is gone lies an empty folder.

    guard = Guard("/mnt/disk/study", known_id, "/mnt/disk/study/.store", read)
    guard.check()  # raises OtherStore

On a folder this takes one `lstat`, as long as the file with the id is the same one; an object store is asked at most
every `every` seconds.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from flare_ray.store.reach import StoreAway

EVERY = 30.0
"""Seconds between two looks at an object store, which nobody unmounts."""


class OtherStore(StoreAway):
    """What lies in the store's place here is not the store: another one, or none."""


class Guard:
    """One store, known by its id. file: of a store in a folder. read: reads the id as it is now."""

    def __init__(
        self, url: str, known: str, file: str | None, read: Callable[[], bytes], every: float = EVERY
    ):
        self.url, self.known, self.file, self.read, self.every = url, known, file, read, every
        self._seen: tuple[int, ...] | None = None
        self._checked = float("-inf")

    def check(self, afresh: bool = False) -> None:
        """Raise OtherStore when the store is not there any more. afresh: ask an object store in any case."""
        if not afresh and self.file is None and time.monotonic() - self._checked < self.every:
            return
        try:
            seen = self._facts()
            if seen is not None and seen == self._seen:
                return
            actual = self.read().decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            raise OtherStore(self._message("no store", "unmounted?")) from None
        except PermissionError:
            return  # the write itself says so
        except StoreAway:
            raise
        except OSError as error:  # the answer of a mount whose server is gone
            raise OtherStore(self._message("no store", f"{type(error).__name__}: {error}")) from error
        if actual != self.known:
            raise OtherStore(self._message("another store", "unmounted, or another disk mounted there?"))
        self._seen, self._checked = seen, time.monotonic()

    def _facts(self) -> tuple[int, ...] | None:
        """Return what changes when the file with the id is another one."""
        if self.file is None:
            return None
        status = os.lstat(self.file)
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

    def _message(self, what: str, why: str) -> str:
        return (
            f"{socket.gethostname()} sees {what} at {self.url} ({why}); expected the store {self.known[:8]}…: put it "
            "back at the same path on every node that uses it, and the same command goes on"
        )
