"""What a store does not need: left-overs, and, given the sweeps that are worth keeping, the work of all others.

found = garbage(store, Inventory.of(store))
for one in found: print(one.place, one.reason, one.bytes)
remove(store, found)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flare_ray.errors import InputError, Problem
from flare_ray.store.files import SCRATCH
from flare_ray.store.holder import holders
from flare_ray.store.inventory import RECORD_KINDS, Entry, Inventory
from flare_ray.store.lease import TTL
from flare_ray.store.manifest import RECORD, Damaged, parted
from flare_ray.store.records import Store

HOUR = 3600.0
"""Seconds since the last write after which what is not whole belongs to no living writer."""
_TOKEN_LETTERS = 32
_THREADS = 16


@dataclass(frozen=True)
class Garbage:
    """A file or folder to remove, and why. bytes: its size."""

    place: str
    reason: str
    bytes: int
    is_file: bool


@dataclass(frozen=True)
class Needed:
    """What the sweeps need that are worth keeping.

    fingerprints: of all their grids' runs, bases and corpora. translators: keys of their translation models.
    searching: names of those with searches, whose runs are chosen as they go: only the records tell which.
    """

    fingerprints: Collection[str]
    translators: Collection[str] = ()
    searching: Collection[str] = ()


def garbage(store: Store, there: Inventory, needed: Needed | None = None, age: float = HOUR) -> list[Garbage]:
    """What can be removed, sorted by place. needed: None keeps all finished work.

    age: seconds for which a left-over must not have been written. Raises InputError when a driver is at work that
    may need what the given sweeps do not.
    """
    now = store.files.now()
    working = holders(store.files, TTL)
    if needed and working:
        found = "; ".join(f"another driver on {holder} works on {holder.name}" for holder in working)
        raise InputError("store gc --sweep", [Problem("storage", found, "no driver at work")])
    search = _Search(store, there, now - age, needed, bool(working))
    found_places = {one.place: one for one in search.all()}
    return [found_places[place] for place in sorted(found_places) if not _inside(place, found_places)]


def remove(store: Store, found: Collection[Garbage]) -> None:
    """Removes it; what is gone already is fine."""

    def work(one: Garbage) -> None:
        (store.files.remove if one.is_file else store.files.remove_folder)(one.place)

    with ThreadPoolExecutor(1 if store.local else _THREADS) as pool:
        list(pool.map(work, found))


class _Search:
    """Looks through an inventory. before: Unix time; what was written since may have a living writer."""

    def __init__(self, store: Store, there: Inventory, before: float, needed: Needed | None, working: bool):
        self.store, self.there, self.before = store, there, before
        self.needed, self.working = needed, working

    def all(self) -> Iterator[Garbage]:
        yield from self._unfinished()
        yield from self._strays()
        yield from self._of_finished()
        yield from self._ray()
        if self.needed:
            yield from self._unneeded(self.needed)

    def _old(self, entry: Entry) -> bool:
        return entry.modified is not None and entry.modified < self.before

    def _unfinished(self) -> Iterator[Garbage]:
        """What killed writers left."""
        for entry in self.there.every():
            if entry.kind == SCRATCH:
                if self._old(entry):
                    yield _of(entry, "unfinished")
                continue
            for name, info in entry.files.items():
                part = Entry(entry.kind, f"{entry.name}/{name}" if name else entry.name, {"": info})
                if part.name.endswith(SCRATCH) and self._old(part):
                    yield _of(part, "unfinished")
        for kind in self.there.record_kinds:
            for entry in self.there.entries(kind):
                if not entry.is_file and not entry.whole and self._old(entry):
                    yield _of(entry, "unfinished")

    def _strays(self) -> Iterator[Garbage]:
        """Files of writers on an object store that were not the first, or died."""
        for kind in self.there.record_kinds:
            for entry in self.there.entries(kind):
                tops = {name.split("/")[0] for name in entry.files}
                tokens = {top for top in tops if _is_token(top)}
                if not entry.whole or not tokens or (len(tokens) == 1 and tops - tokens == {RECORD}):
                    continue
                if (folder := self._folder_of(entry)) is None:
                    continue
                for token in sorted(tokens - {folder}):
                    inner = {n: i for n, i in entry.files.items() if n.startswith(f"{token}/")}
                    part = Entry(kind, f"{entry.name}/{token}", inner)
                    if self._old(part):
                        yield _of(part, "unfinished")

    def _of_finished(self) -> Iterator[Garbage]:
        for entry in self.there.entries("failures"):
            if entry.name.removesuffix(".json") in self.there.finished:
                yield _of(entry, "failure of finished work")
        for entry in self.there.entries("checkpoints"):
            if entry.name in self.there.finished:
                yield _of(entry, "checkpoint of finished work")

    def _ray(self) -> Iterator[Garbage]:
        """Ray's files, when no driver is at work and nothing was written into them of late."""
        for entry in [] if self.working else self.there.entries("ray"):
            if self._old(entry):
                yield _of(entry, "Ray's files of an ended sweep")

    def _unneeded(self, needed: Needed) -> Iterator[Garbage]:
        kept = {*needed.fingerprints, *self._chosen(needed)}
        for kind in RECORD_KINDS:
            for entry in self.there.entries(kind):
                if entry.whole and entry.name not in kept:
                    yield _of(entry, "needed by no given sweep")
        for kind in ("failures", "checkpoints"):
            for entry in self.there.entries(kind):
                if entry.name.removesuffix(".json") not in kept and self._old(entry):
                    yield _of(entry, "needed by no given sweep")
        for entry in self.there.entries("translations"):
            if entry.name not in needed.translators:
                yield _of(entry, "needed by no given sweep")

    def _chosen(self, needed: Needed) -> Iterator[str]:
        """Runs that the searches of the given sweeps have made, and what those started from, by their records."""
        for entry in self.there.entries("runs") if needed.searching else []:
            if not entry.whole or entry.name in needed.fingerprints:
                continue
            try:
                record = self.store.record(entry.kind, entry.name)
            except (FileNotFoundError, Damaged):
                continue
            if record.get("provenance", {}).get("sweep") in needed.searching:
                yield from (entry.name, record["base"], *record["corpora"].values())

    def _folder_of(self, entry: Entry) -> str | None:
        """The folder that a record's files lie in; None when it cannot be read, and all of it stays."""
        try:
            manifest = parted(self.store.files.read(f"{entry.place}/{RECORD}"))[1]
        except (FileNotFoundError, Damaged):
            return None
        return manifest.folder if manifest else ""


def _of(entry: Entry, reason: str) -> Garbage:
    return Garbage(entry.place, reason, entry.bytes, entry.is_file)


def _is_token(name: str) -> bool:
    return len(name) == _TOKEN_LETTERS and all(letter in "0123456789abcdef" for letter in name)


def _inside(place: str, others: Collection[str]) -> bool:
    """Whether a folder around it goes anyway."""
    parts = place.split("/")
    return any("/".join(parts[:end]) in others for end in range(1, len(parts)))
