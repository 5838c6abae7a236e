"""What one experiment of MLflow has of a sweep: which runs, whole or not, which cells, and what is there twice.

Two writers may be at work on one experiment, and MLflow has no names for runs that only one of them could take. So
each looks before it writes, and `settle` removes what both have written: all writers choose the same one to keep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from flare_ray.tracking.artifacts import files_of, missing_in
from flare_ray.tracking.cells import aggregate
from flare_ray.tracking.connection import CELL, FINGERPRINT, PARENT, Connection, Work
from flare_ray.tracking.contents import CONTENTS, Contents, contents_of, read_contents
from flare_ray.tracking.failures import is_outage
from flare_ray.tracking.relocation import local_path, run_folder
from flare_ray.tracking.views import View, cell_view

WHOLE = ("FINISHED", "FAILED")
KIND, WRITER = "flare_ray.kind", "flare_ray.writer"


@dataclass
class Entry:
    """One MLflow run of ours. metrics: the newest of each. params: names. artifacts: the address of its files."""

    run_id: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]
    params: Collection[str]
    artifacts: str = ""
    fresh: bool = False
    """Whether this writer has written it itself, and all of it."""

    @classmethod
    def of(cls, run: Any) -> Entry:
        """Return what matters of MLflow's own run."""
        data, params = run.data, tuple(run.data.params)
        artifacts = str(run.info.artifact_uri)
        return cls(
            str(run.info.run_id), str(run.info.status), dict(data.tags), dict(data.metrics), params, artifacts
        )

    @property
    def contents(self) -> Contents | None:
        """What it had when it was written; None for one of an earlier version."""
        return read_contents(self.tags)

    @property
    def whole(self) -> bool:
        """Whether it has ended, with all parameters, metrics and tags that it had then."""
        if self.status not in WHOLE or KIND not in self.tags:
            return False
        if self.contents is None:
            return bool(self.params) and bool(self.metrics or self.status == "FAILED")
        return not self.contents.missing(self.params, self.metrics, self.tags)

    @property
    def rank(self) -> tuple[int, str]:
        """What is kept of several: the one that finished, the one that failed, and then any that all agree on."""
        states = {"FINISHED": 0, "FAILED": 1} if self.whole else {}
        return states.get(self.status, 2), self.run_id


@dataclass
class Ledger:
    """One experiment, by name and id. runs: fingerprint -> entries, the one to keep first. cells: key -> entries."""

    connection: Connection
    name: str
    experiment: str
    writer: str
    """What tells this writer's runs from another's."""
    runs: dict[str, list[Entry]] = field(default_factory=dict)
    cells: dict[str, list[Entry]] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    """A run of each cell that has changed since `flush`."""
    unchecked: dict[str, Callable[[], View | None]] = field(default_factory=dict)
    """Cells whose runs are there: each is looked at once, by the view of one of its runs."""
    checked: set[str] = field(default_factory=set)
    restored: int = 0
    """Cells that had been deleted, or were half written or wrong."""
    lock: Any = field(default_factory=Lock)

    def read(self) -> Ledger:
        """Looks at everything that is there."""
        self.runs, self.cells = {}, {}
        for run in self.connection.runs(self.experiment):
            self._note(Entry.of(run))
        return self

    def look(self, fingerprint: str) -> None:
        """Looks again at what is there of one run."""
        self.runs.pop(fingerprint, None)
        for run in self.connection.runs(self.experiment, f"tags.`{FINGERPRINT}` = '{fingerprint}'"):
            self._note(Entry.of(run))

    def has(self, fingerprint: str, failed_at: str | None = None) -> bool:
        """Whether a run is there as it should be: finished, or with the very failure of that time."""
        kept = self.runs.get(fingerprint, [])
        if not kept or not kept[0].whole:
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

    def lacks_files(self, fingerprint: str, thorough: bool) -> bool:
        """Whether artifacts of a run that is there are gone. thorough: a server is asked as well, by two requests.

        A run of an earlier version does not say what it had: it lacks its files where that is looked at thoroughly.
        """
        entry = self.runs[fingerprint][0]
        if entry.fresh or entry.contents is None:
            return thorough and not entry.fresh
        sizes = entry.contents.files
        if (folder := local_path(entry.artifacts)) is None:
            return thorough and bool(sizes) and self._differs(entry, sizes)
        if self.connection.artifacts:
            expected = run_folder(self.connection.artifacts, self.name, entry.run_id)
            if folder != expected:
                return True
        return bool(missing_in(folder, sizes))

    def _differs(self, entry: Entry, sizes: Mapping[str, int]) -> bool:
        actual = self.connection.sizes(entry.run_id, tuple(sizes))
        return any(actual.get(name) != size for name, size in sizes.items())

    def complete(self, fingerprint: str, view: View, tags: dict[str, str], folder: Path | None) -> bool:
        """Put back what a run that is there has lost; whether that was anything. Raises FileNotFoundError."""
        entry = self.runs[fingerprint][0]
        contents = contents_of(view, files_of(view, folder) if folder else [])
        if contents.missing(entry.params, entry.metrics, entry.tags) or not _agree(
            _newest(view), entry.metrics
        ):
            self.add(fingerprint, view, tags, folder)
            return True
        marked = replace(entry, tags=entry.tags | {CONTENTS: contents.as_tag()})
        self.runs[fingerprint][0] = marked
        lacks = self.lacks_files(fingerprint, thorough=True)
        if lacks:
            self.connection.restore_files(self.name, entry.run_id, view, folder)
        if marked.tags != entry.tags:
            self.connection.tag(entry.run_id, CONTENTS, contents.as_tag())
        marked.fresh = True
        return lacks

    def parent(self, key: str, view: View) -> str:
        """The MLflow run of a cell, which is made where there is none."""
        if not self.cells.get(key):
            made = cell_view(view, [])
            tags = {CELL: key, WRITER: self.writer}
            run_id = self.connection.write(self.name, self.experiment, made, tags, None)
            self.cells[key] = [_written(run_id, made, tags)]
        return self.cells[key][0].run_id

    def add(self, fingerprint: str, view: View, tags: dict[str, str], folder: Path | None) -> None:
        """Writes a run, in the place of what was there of it."""
        tags = tags | {FINGERPRINT: fingerprint, WRITER: self.writer}
        if CELL in tags:
            with self.lock:
                tags[PARENT] = self.parent(tags[CELL], view)
        self.clear(fingerprint)
        run_id = self.connection.write(self.name, self.experiment, view, tags, folder)
        self._note(_written(run_id, view, tags))
        if CELL in tags:
            self.views[tags[CELL]] = view

    def add_many(self, works: Sequence[tuple[str, View, dict[str, str], Path | None]]) -> None:
        """Writes runs that are not there yet, all of them or none, with the cells they need. See `add`."""
        made: dict[str, Work] = {}
        written: list[Work] = []
        for fingerprint, view, tags, folder in works:
            tags = tags | {FINGERPRINT: fingerprint, WRITER: self.writer}
            if key := tags.get(CELL):
                if not self.cells.get(key) and key not in made:
                    parent = cell_view(view, [])
                    made[key] = (uuid4().hex, parent, {CELL: key, WRITER: self.writer}, None)
                tags[PARENT] = self.cells[key][0].run_id if self.cells.get(key) else made[key][0]
            written.append((uuid4().hex, view, tags, folder))
        for fingerprint, *_ in works:
            self.clear(fingerprint)
        self.connection.write_many(self.name, self.experiment, written, list(made.values()))
        for run_id, view, tags, _ in (*made.values(), *written):
            self._note(_written(run_id, view, tags))
            if CELL in tags:
                self.views[tags[CELL]] = view

    def check_cell(self, key: str, load: Callable[[], View | None]) -> None:
        """Have the next `flush` look at a cell whose runs are there. load: gives the view of one of its runs."""
        if key not in self.checked:
            self.unchecked.setdefault(key, load)

    def flush(self) -> None:
        """Brings the cells up to date whose runs have changed, and those that are not as their runs are."""
        members: dict[str, list[dict[str, float]]] = {}
        for entries in self.runs.values():
            if entries and entries[0].status == "FINISHED" and CELL in entries[0].tags:
                members.setdefault(entries[0].tags[CELL], []).append(entries[0].metrics)
        changed = dict(self.views)
        for key, load in self.unchecked.items():
            if key not in changed and not self._is_right(key, members.get(key, [])) and (view := load()):
                changed[key] = view
                self.restored += 1
        self._write_cells(changed, members)
        keys = {*changed, *self.unchecked}
        for entries in self.runs.values():
            if entries and entries[0].tags.get(CELL) in keys:
                self._adopt(entries[:1])
        self.checked |= keys
        self.unchecked.clear()
        self.views.clear()

    def _is_right(self, key: str, members: Sequence[Mapping[str, float]]) -> bool:
        """Whether a cell is there once, whole, and with the numbers of its runs."""
        entries = self.cells.get(key, [])
        return len(entries) == 1 and entries[0].whole and _agree(aggregate(members), entries[0].metrics)

    def _write_cells(self, views: Mapping[str, View], members: Mapping[str, list[dict[str, float]]]) -> None:
        cells = {}
        for key, view in views.items():
            cell = cell_view(view, members.get(key, []))
            self._keep_first(self.cells.get(key, []))
            if self.cells.get(key) and not self.cells[key][0].whole:
                self._complete_cell(key, view)
            cells[self.parent(key, view)] = View("", {}, {}, cell.metrics, cell.started, cell.ended)
            self.cells[key][0].metrics = {name: value for name, value, _ in cell.metrics}
        if cells and self.connection.bulk:
            self.connection.bulk.log(cells)
        else:
            for run_id, only in cells.items():
                self.connection.log(run_id, only)

    def _complete_cell(self, key: str, view: View) -> None:
        """Write what a cell lacks; one that cannot be completed is deleted, and written again by `parent`."""
        entry, view_of_cell, tags = self.cells[key][0], cell_view(view, []), {CELL: key, WRITER: self.writer}
        try:
            self.connection.complete(entry.run_id, view_of_cell, tags)
            self.cells[key] = [_written(entry.run_id, view_of_cell, tags)]
        except Exception as error:
            if is_outage(error):
                raise
            self.connection.delete(entry.run_id)
            del self.cells[key]

    def settle(self, fingerprints: Iterable[str]) -> int:
        """Removes what another writer has written of these runs and cells as well; how much that was."""
        for known in (self.runs, self.cells):
            for key, entries in known.items():
                known[key] = [one for one in entries if one.tags.get(WRITER) in (None, self.writer)]
        for run in self.connection.runs(self.experiment, f"tags.`{WRITER}` != '{self.writer}'"):
            self._note(Entry.of(run))
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
                self.connection.tag(entry.run_id, PARENT, parents[0].run_id)
                entry.tags[PARENT] = parents[0].run_id

    def _note(self, entry: Entry) -> None:
        tags: dict[str, Any] = entry.tags
        if FINGERPRINT in tags:
            place = self.runs.setdefault(tags[FINGERPRINT], [])
        elif CELL in tags:
            place = self.cells.setdefault(tags[CELL], [])
        else:
            return  # not ours
        place.append(entry)
        place.sort(key=lambda one: one.rank)


def _written(run_id: str, view: View, tags: dict[str, str]) -> Entry:
    """Return the entry of a run that was just written whole."""
    return Entry(run_id, view.status, view.tags | tags, _newest(view), tuple(view.params), fresh=True)


def _newest(view: View) -> dict[str, float]:
    """Return each metric's value at its last step."""
    newest: dict[str, tuple[int, float]] = {}
    for name, value, step in view.metrics:
        if name not in newest or (step, value) >= newest[name]:
            newest[name] = (step, value)
    return {name: value for name, (_, value) in newest.items()}


def _agree(expected: Mapping[str, float], got: Mapping[str, float]) -> bool:
    """Whether metrics are there with these values, as far as databases keep them."""
    return all(name in got and _same(value, got[name]) for name, value in expected.items())


def _same(a: float, b: float) -> bool:
    if math.isnan(a) or math.isinf(a):
        return math.isnan(b) or abs(b) > 1e300
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)
