"""What one experiment of MLflow has of a sweep: which runs, whole or not, which cells, and what is there twice.

Two writers may be at work on one experiment, and MLflow has no names for runs that only one of them could take. So
each looks before it writes, and `settle` removes what both have written: all writers choose the same one to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from flare_ray.tracking.connection import CELL, FINGERPRINT, PARENT, Connection, Work, facts
from flare_ray.tracking.views import View, cell_view

WHOLE = ("FINISHED", "FAILED")
KIND, WRITER = "flare_ray.kind", "flare_ray.writer"


@dataclass
class Entry:
    """One MLflow run of ours. metrics: the newest of each."""

    run_id: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def rank(self) -> tuple[int, str]:
        """What is kept of several: the one that finished, the one that failed, and then any that all agree on."""
        states = {"FINISHED": 0, "FAILED": 1}
        return states.get(self.status, 2), self.run_id


@dataclass
class Ledger:
    """One experiment. runs: fingerprint -> entries, the one to keep first. cells: cell's key -> entries."""

    connection: Connection
    experiment: str
    writer: str
    """What tells this writer's runs from another's."""
    runs: dict[str, list[Entry]] = field(default_factory=dict)
    cells: dict[str, list[Entry]] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    """A run of each cell that has changed since `flush`."""
    lock: Any = field(default_factory=Lock)

    def read(self) -> Ledger:
        """Looks at everything that is there."""
        self.runs, self.cells = {}, {}
        for run in self.connection.runs(self.experiment):
            self._note(Entry(*facts(run)))
        return self

    def look(self, fingerprint: str) -> None:
        """Looks again at what is there of one run."""
        self.runs.pop(fingerprint, None)
        for run in self.connection.runs(self.experiment, f"tags.`{FINGERPRINT}` = '{fingerprint}'"):
            self._note(Entry(*facts(run)))

    def has(self, fingerprint: str, failed_at: str | None = None) -> bool:
        """Whether a run is there as it should be: finished, or with the very failure of that time."""
        kept = self.runs.get(fingerprint, [])
        if not kept or kept[0].status not in WHOLE:
            return False
        if kept[0].status == "FINISHED":
            return True
        return failed_at is not None and kept[0].tags.get("failed_at") == failed_at

    def tidy(self, fingerprint: str) -> int:
        """Removes all but the one to keep; how many that were."""
        return self._keep_first(self.runs.get(fingerprint, []))

    def clear(self, fingerprint: str) -> None:
        """Removes what is there of a run: what a killed writer left half written, a failure that no longer holds."""
        for entry in self.runs.pop(fingerprint, []):
            self.connection.delete(entry.run_id)

    def parent(self, key: str, view: View) -> str:
        """The MLflow run of a cell, which is made where there is none."""
        if key not in self.cells:
            made = cell_view(view, [])
            tags = {CELL: key, WRITER: self.writer}
            run_id = self.connection.write(self.experiment, made, tags, None)
            self.cells[key] = [Entry(run_id, made.status, made.tags | tags, {})]
        return self.cells[key][0].run_id

    def add(self, fingerprint: str, view: View, tags: dict[str, str], folder: Path | None) -> None:
        """Writes a run, in the place of what was there of it."""
        tags = tags | {FINGERPRINT: fingerprint, WRITER: self.writer}
        if CELL in tags:
            with self.lock:
                tags[PARENT] = self.parent(tags[CELL], view)
        self.clear(fingerprint)
        run_id = self.connection.write(self.experiment, view, tags, folder)
        metrics = {name: value for name, value, _ in view.metrics}
        self._note(Entry(run_id, view.status, view.tags | tags, metrics))
        if CELL in tags:
            self.views[tags[CELL]] = view

    def add_many(self, works: Sequence[tuple[str, View, dict[str, str], Path | None]]) -> None:
        """Writes runs that are not there yet, all of them or none, with the cells they need. See `add`."""
        made: dict[str, Work] = {}
        written: list[Work] = []
        for fingerprint, view, tags, folder in works:
            tags = tags | {FINGERPRINT: fingerprint, WRITER: self.writer}
            if key := tags.get(CELL):
                if key not in self.cells and key not in made:
                    parent = cell_view(view, [])
                    made[key] = (uuid4().hex, parent, {CELL: key, WRITER: self.writer}, None)
                tags[PARENT] = self.cells[key][0].run_id if key in self.cells else made[key][0]
            written.append((uuid4().hex, view, tags, folder))
        for fingerprint, *_ in works:
            self.clear(fingerprint)
        self.connection.write_many(self.experiment, written, list(made.values()))
        for run_id, view, tags, _ in (*made.values(), *written):
            metrics = {name: value for name, value, _ in view.metrics}
            self._note(Entry(run_id, view.status, view.tags | tags, metrics))
            if CELL in tags:
                self.views[tags[CELL]] = view

    def flush(self) -> None:
        """Brings the cells up to date whose runs have changed."""
        members: dict[str, list[dict[str, float]]] = {}
        for entries in self.runs.values():
            if entries and entries[0].status == "FINISHED" and CELL in entries[0].tags:
                members.setdefault(entries[0].tags[CELL], []).append(entries[0].metrics)
        made = {}
        for key, view in self.views.items():
            cell = cell_view(view, members.get(key, []))
            made[self.cells[key][0].run_id] = View("", {}, {}, cell.metrics, cell.started, cell.ended)
        if made and self.connection.bulk:
            self.connection.bulk.log(made)
        else:
            for run_id, only in made.items():
                self.connection.log(run_id, only)
        self.views.clear()

    def settle(self, fingerprints: Iterable[str]) -> int:
        """Removes what another writer has written of these runs and cells as well; how much that was."""
        for known in (self.runs, self.cells):
            for key, entries in known.items():
                known[key] = [one for one in entries if one.tags.get(WRITER) == self.writer]
        for run in self.connection.runs(self.experiment, f"tags.`{WRITER}` != '{self.writer}'"):
            self._note(Entry(*facts(run)))
        removed = sum(self._keep_first(self.runs.get(one, [])) for one in fingerprints)
        removed += sum(self._keep_first(entries) for entries in self.cells.values())
        for fingerprint in fingerprints:
            self._adopt(self.runs.get(fingerprint, []))
        return removed

    def _keep_first(self, entries: list[Entry]) -> int:
        for entry in entries[1:]:
            self.connection.delete(entry.run_id)
        count = len(entries[1:])
        del entries[1:]
        return count

    def _adopt(self, entries: list[Entry]) -> None:
        """A run whose cell another writer had made as well belongs to the one that was kept."""
        for entry in entries:
            parents = self.cells.get(entry.tags.get(CELL, ""), [])
            if parents and entry.tags.get(PARENT) != parents[0].run_id:
                self.connection.client.set_tag(entry.run_id, PARENT, parents[0].run_id)
                entry.tags[PARENT] = parents[0].run_id

    def _note(self, entry: Entry) -> None:
        tags: dict[str, Any] = entry.tags
        if FINGERPRINT in tags:
            place = self.runs.setdefault(tags[FINGERPRINT], [])
        elif tags.get(KIND) == "cell" and CELL in tags:
            place = self.cells.setdefault(tags[CELL], [])
        else:
            return  # not ours
        place.append(entry)
        place.sort(key=lambda one: one.rank)
