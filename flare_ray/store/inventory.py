"""What a store holds, from one listing: kinds, entries, files, bytes.

there = Inventory.of(store)
for kind in there.kinds: print(kind, len(there.entries(kind)), there.bytes(kind))
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from flare_ray.store.disk import Info, mounts_below
from flare_ray.store.layout import KINDS, RECORD_KINDS, is_own
from flare_ray.store.manifest import RECORD
from flare_ray.store.records import Store


@dataclass(frozen=True)
class Entry:
    """What lies under one name of a kind: `runs/<fingerprint>`, `failures/<fingerprint>.json`, `ray/<time>`.

    files: by their place in it; a single file's is "". modified: when the newest was written (Unix time by the
    storage's clock), None if it does not say.
    """

    kind: str
    name: str
    files: Mapping[str, Info]

    @property
    def place(self) -> str:
        """Below the store's root."""
        return f"{self.kind}/{self.name}" if self.kind else self.name

    @property
    def is_file(self) -> bool:
        """Whether it is one file, and not a folder."""
        return "" in self.files

    @property
    def whole(self) -> bool:
        """Whether it is a finished record."""
        return RECORD in self.files and self.files[RECORD].regular

    @property
    def is_own(self) -> bool:
        """Return whether the store itself can have made it: a name of its kind, and no link, pipe or device."""
        own = is_own(self.place, self.is_file)
        return own and (self.kind == "ray" or all(info.regular for info in self.files.values()))

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(info.bytes for info in self.files.values())

    @property
    def modified(self) -> float | None:
        """When the newest file was written."""
        times = [info.modified for info in self.files.values()]
        return None if None in times else max((time for time in times if time is not None), default=None)


class Inventory:
    """Everything in a store at one time. Files beside the kinds' folders are of the kind "".

    mounts: places where other file systems are mounted; what reaches into one is not the store's.
    """

    def __init__(self, files: Mapping[str, Info], mounts: Collection[str] = ()):
        self._mounts = mounts
        self._kinds: dict[str, dict[str, dict[str, Info]]] = {}
        for place, info in files.items():
            kind, rest = place.split("/", 1) if "/" in place else ("", place)
            name, _, inner = rest.partition("/")
            self._kinds.setdefault(kind, {}).setdefault(name, {})[inner] = info

    @classmethod
    def of(cls, store: Store) -> Inventory:
        """One listing of the whole store."""
        return cls(store.files.find(), mounts_below(store.root) if store.local else ())

    @property
    def kinds(self) -> list[str]:
        """Names of the folders there are."""
        return sorted(self._kinds)

    @cached_property
    def record_kinds(self) -> list[str]:
        """Kinds whose entries are records."""
        return [kind for kind in self.kinds if kind in RECORD_KINDS]

    @cached_property
    def foreign(self) -> list[str]:
        """Return the places of what is not the store's; of a folder whose name is of no kind, that folder's."""
        mounted = {"/".join(mount.split("/")[:2]) for mount in self._mounts}
        return sorted(mounted | {self._shown(entry) for entry in self.every() if not self._is_own(entry)})

    def _shown(self, entry: Entry) -> str:
        """Return by which place a foreign entry is named; tens of thousands below one foreign folder are one."""
        whole_kind = entry.kind not in KINDS or entry.kind in self._mounts
        return (entry.kind or entry.name) if whole_kind else entry.place

    def own(self, kind: str) -> list[Entry]:
        """Return a kind's entries that the store itself has made, and that lie in it alone."""
        return [entry for entry in self.entries(kind) if self._is_own(entry)]

    @cached_property
    def misplaced(self) -> list[Entry]:
        """Return what has a name of finished work, or of a failure, and does not lie in the store alone."""
        named = [entry for kind in (*RECORD_KINDS, "failures") for entry in self.entries(kind)]
        own_names = [one for one in named if is_own(one.place, False) or is_own(one.place, True)]
        return [one for one in own_names if not self._is_own(one) and one.kind not in self._mounts]

    def _is_own(self, entry: Entry) -> bool:
        prefix = f"{entry.place}/"
        mounted = any(
            prefix.startswith(f"{mount}/") or f"{mount}/".startswith(prefix) for mount in self._mounts
        )
        return entry.is_own and not mounted

    @cached_property
    def finished(self) -> dict[str, str]:
        """The places of all records, of whatever kind, by their fingerprints."""
        return {e.name: e.place for kind in self.record_kinds for e in self.own(kind) if e.whole}

    def entries(self, kind: str) -> list[Entry]:
        """A kind's entries, by name."""
        return [Entry(kind, name, files) for name, files in sorted(self._kinds.get(kind, {}).items())]

    def every(self) -> list[Entry]:
        """All entries of all kinds."""
        return [entry for kind in self.kinds for entry in self.entries(kind)]

    def bytes(self, kind: str) -> int:
        """Of all files of a kind."""
        return sum(entry.bytes for entry in self.entries(kind))
