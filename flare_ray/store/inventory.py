"""What a store holds, from one listing: kinds, entries, files, bytes.

there = Inventory.of(store)
for kind in there.kinds: print(kind, len(there.entries(kind)), there.bytes(kind))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from flare_ray.store.disk import Info
from flare_ray.store.manifest import RECORD
from flare_ray.store.records import Store

RECORD_KINDS = ("bases", "corpora", "runs")


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
        return RECORD in self.files

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
    """Everything in a store at one time. Files beside the kinds' folders are of the kind ""."""

    def __init__(self, files: Mapping[str, Info]):
        self._kinds: dict[str, dict[str, dict[str, Info]]] = {}
        for place, info in files.items():
            kind, rest = place.split("/", 1) if "/" in place else ("", place)
            name, _, inner = rest.partition("/")
            self._kinds.setdefault(kind, {}).setdefault(name, {})[inner] = info

    @classmethod
    def of(cls, store: Store) -> Inventory:
        """One listing of the whole store."""
        return cls(store.files.find())

    @property
    def kinds(self) -> list[str]:
        """Names of the folders there are."""
        return sorted(self._kinds)

    @cached_property
    def record_kinds(self) -> list[str]:
        """Kinds whose entries are records."""
        return [
            kind for kind in self.kinds if kind in RECORD_KINDS or any(e.whole for e in self.entries(kind))
        ]

    @cached_property
    def finished(self) -> set[str]:
        """Fingerprints of all records, of whatever kind."""
        return {entry.name for kind in self.record_kinds for entry in self.entries(kind) if entry.whole}

    def entries(self, kind: str) -> list[Entry]:
        """A kind's entries, by name."""
        return [Entry(kind, name, files) for name, files in sorted(self._kinds.get(kind, {}).items())]

    def every(self) -> list[Entry]:
        """All entries of all kinds."""
        return [entry for kind in self.kinds for entry in self.entries(kind)]

    def bytes(self, kind: str) -> int:
        """Of all files of a kind."""
        return sum(entry.bytes for entry in self.entries(kind))
