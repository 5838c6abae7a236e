"""What a store does not need: left-overs, and, given the sweeps that are worth keeping, the work of all others.

found = garbage(store, Inventory.of(store))
for one in found: print(one.place, one.reason, one.bytes)
removal = remove(store, found)

Only what the store itself can have made is garbage (layout.py), and before it is removed it is looked at once more:
work that was finished since, or that somebody writes, stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from flare_ray.errors import InputError, Problem
from flare_ray.store.disk import Info
from flare_ray.store.files import SCRATCH
from flare_ray.store.holder import holders
from flare_ray.store.inventory import Entry, Inventory
from flare_ray.store.layout import TOKEN, WORK_KINDS, is_left_over, layout_problems
from flare_ray.store.lease import TTL
from flare_ray.store.manifest import RECORD, Damaged, parted
from flare_ray.store.reach import StoreAway
from flare_ray.store.records import Store

HOUR = 3600.0
"""Seconds since the last write after which what is not whole belongs to no living writer."""
_THREADS = 16
_OTHERS_FILES = ("ray", "mlflow-artifacts", "quarantine")
"""Kinds in whose entries the store itself writes no files."""
_UNFINISHED, _UNNEEDED, _RAY = "unfinished", "needed by no given sweep", "Ray's files of an ended sweep"
_FAILURE, _CHECKPOINT = "failure of finished work", "checkpoint of finished work"


@dataclass(frozen=True)
class Garbage:
    """A file or folder to remove, and why. bytes: its size.

    before: the Unix time since which it must not have been written; None for what nobody writes any more. work: the
    place of the record by which it is not needed, or which must not be there.
    """

    place: str
    reason: str
    bytes: int
    is_file: bool
    before: float | None = field(default=None, compare=False)
    work: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Removal:
    """What was removed, what stays and why, and what could not be removed and why."""

    removed: tuple[Garbage, ...]
    stays: tuple[tuple[Garbage, str], ...]
    failed: tuple[tuple[Garbage, str], ...]


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
    if needed:
        _refuse_at_work(store)
        if problems := layout_problems(store.files):  # what the searches have chosen cannot be read
            raise InputError("store gc --sweep", problems)
    search = _Search(store, there, now - age, needed, bool(holders(store.files, TTL)))
    found_places = {one.place: one for one in search.all()}
    return [found_places[place] for place in sorted(found_places) if not _inside(place, found_places)]


def remove(store: Store, found: Collection[Garbage]) -> Removal:
    """Removes it, and says of what it did not remove why; what is gone already counts as removed.

    Raises InputError when a driver has begun to work that may need some of it, StoreAway.
    """
    if any(one.reason in (_UNNEEDED, _RAY) for one in found):
        _refuse_at_work(store)

    def work(one: Garbage) -> tuple[str, str]:
        try:
            return _removed(store, one)
        except StoreAway:
            raise
        except OSError as error:
            return "failed", f"{error.strerror or error}: {error.filename or ''}".strip(": ")

    with ThreadPoolExecutor(1 if store.local else _THREADS) as pool:
        ends = list(zip(found, pool.map(work, found), strict=True))
    return Removal(
        tuple(one for one, (end, _) in ends if end == "removed"),
        tuple((one, why) for one, (end, why) in ends if end == "stays"),
        tuple((one, why) for one, (end, why) in ends if end == "failed"),
    )


def _removed(store: Store, one: Garbage) -> tuple[str, str]:
    """Looks at one piece once more and removes it; how that ended, and why it stays."""
    if why := _needed_now(store, one):
        return "stays", why
    if one.is_file:
        store.files.remove(one.place)
        return "removed", ""
    whole_stays = one.reason == _UNFINISHED and one.work == one.place
    store.files.remove_folder(one.place, unless=RECORD if whole_stays else None)
    if whole_stays and store.files.exists(f"{one.place}/{RECORD}"):
        return "stays", "finished meanwhile"
    return "removed", ""


def _needed_now(store: Store, one: Garbage) -> str | None:
    """Return why a piece is no garbage any more, by what the store has now."""
    if one.before is not None:
        written = [info.modified for info in _files_now(store, one)]
        if any(time is None or time >= one.before for time in written):
            return "written meanwhile"
    if one.work is None:
        return None
    if one.reason in (_FAILURE, _CHECKPOINT):
        return None if store.has(*one.work.split("/")) else "its work is not finished any more"
    if one.reason != _UNFINISHED:
        return None
    has_record = store.files.exists(f"{one.work}/{RECORD}")
    if one.work == one.place:
        return "finished meanwhile" if has_record else None
    folder = _folder_of(store, one.work)
    return (
        None
        if has_record and folder is not None and one.place != f"{one.work}/{folder}"
        else "finished meanwhile"
    )


def _files_now(store: Store, one: Garbage) -> list[Info]:
    if not one.is_file:
        return list(store.files.find(one.place).values())
    try:
        return [Info(0, store.files.modified(one.place))]
    except FileNotFoundError:
        return []


def _refuse_at_work(store: Store) -> None:
    """Raises InputError when a driver works in the store."""
    if working := holders(store.files, TTL):
        got = "; ".join(f"another driver on {holder} works on {holder.name}" for holder in working)
        raise InputError("store gc", [Problem("storage", got, "no driver at work")])


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

    def _of(self, entry: Entry, reason: str, work: str | None = None, changes: bool = True) -> Garbage:
        before = self.before if changes else None
        return Garbage(entry.place, reason, entry.bytes, entry.is_file, before, work)

    def _unfinished(self) -> Iterator[Garbage]:
        """What killed writers left."""
        for entry in self.there.own(SCRATCH):
            if self._old(entry):
                yield self._of(entry, _UNFINISHED)
        for kind in self.there.kinds:
            if kind in _OTHERS_FILES:
                continue
            for entry in self.there.own(kind):
                for name, info in entry.files.items():
                    part = Entry(entry.kind, f"{entry.name}/{name}" if name else entry.name, {"": info})
                    if is_left_over(part.name.rpartition("/")[2]) and self._old(part):
                        yield self._of(part, _UNFINISHED)
        for kind in self.there.record_kinds:
            for entry in self.there.own(kind):
                if not entry.is_file and not entry.whole and self._old(entry):
                    yield self._of(entry, _UNFINISHED, work=entry.place)

    def _strays(self) -> Iterator[Garbage]:
        """Files of writers on an object store that were not the first, or died."""
        for kind in self.there.record_kinds:
            for entry in self.there.own(kind):
                tops = {name.split("/")[0] for name in entry.files}
                tokens = {top for top in tops if _is_token(top)}
                if not entry.whole or not tokens or (len(tokens) == 1 and tops - tokens == {RECORD}):
                    continue
                if (folder := _folder_of(self.store, entry.place)) is None:
                    continue
                for token in sorted(tokens - {folder}):
                    inner = {n: i for n, i in entry.files.items() if n.startswith(f"{token}/")}
                    part = Entry(kind, f"{entry.name}/{token}", inner)
                    if self._old(part):
                        yield self._of(part, _UNFINISHED, work=entry.place)

    def _of_finished(self) -> Iterator[Garbage]:
        """Failures and checkpoints of work with a sound record: work that is damaged is trained again with them."""
        left = [(entry, _FAILURE) for entry in self.there.own("failures")]
        left += [(entry, _CHECKPOINT) for entry in self.there.own("checkpoints")]
        for entry, reason in left:
            work = self.there.finished.get(entry.name.removesuffix(".json"))
            if work and self.store.has(*work.split("/")):
                yield self._of(entry, reason, work, changes=False)

    def _ray(self) -> Iterator[Garbage]:
        """Ray's files, when no driver is at work and nothing was written into them of late."""
        for entry in [] if self.working else self.there.own("ray"):
            if self._old(entry):
                yield self._of(entry, _RAY)

    def _unneeded(self, needed: Needed) -> Iterator[Garbage]:
        kept = {*needed.fingerprints, *self._chosen(needed)}
        for kind in WORK_KINDS:
            for entry in self.there.own(kind):
                if entry.whole and entry.name not in kept:
                    yield self._of(entry, _UNNEEDED, changes=False)
        for kind in ("failures", "checkpoints"):
            for entry in self.there.own(kind):
                if entry.name.removesuffix(".json") not in kept and self._old(entry):
                    yield self._of(entry, _UNNEEDED)
        for entry in self.there.own("translations"):
            if entry.name not in needed.translators:
                yield self._of(entry, _UNNEEDED, changes=False)

    def _chosen(self, needed: Needed) -> Iterator[str]:
        """Runs that the searches of the given sweeps have made, and what those started from, by their records.

        A run whose record cannot be read stays: it may be one of them.
        """
        for entry in self.there.own("runs") if needed.searching else []:
            if not entry.whole or entry.name in needed.fingerprints:
                continue
            try:
                record = self.store.record(entry.kind, entry.name)
                sweep = record.get("provenance", {}).get("sweep")
                works = [record.get("base"), *record.get("corpora", {}).values()]
            except FileNotFoundError:
                continue
            except (Damaged, AttributeError):
                yield entry.name
                continue
            if sweep in needed.searching:
                yield from (entry.name, *(work for work in works if work))


def _folder_of(store: Store, place: str) -> str | None:
    """The folder that a record's files lie in; None when it cannot be read, and all of it stays."""
    try:
        manifest = parted(store.files.read(f"{place}/{RECORD}"))[1]
    except (FileNotFoundError, Damaged):
        return None
    return manifest.folder if manifest else ""


def _is_token(name: str) -> bool:
    return re.fullmatch(TOKEN, name) is not None


def _inside(place: str, others: Collection[str]) -> bool:
    """Whether a folder around it goes anyway."""
    parts = place.split("/")
    return any("/".join(parts[:end]) in others for end in range(1, len(parts)))
