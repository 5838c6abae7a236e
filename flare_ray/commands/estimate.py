"""What a study's plan is expected to take: hours of devices, money, disk, and wall time on some places.

found = Estimate.of(study, study.stages(), places=64)
found.whole.hours, found.disk.bytes["bases"], found.wall.seconds
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from flare_ray.execution.simulation import simulate
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.cost import Costs, Sum, Work, total
from flare_ray.plan.disk import Disk, Filled, in_flight
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Stages
from flare_ray.store import RECORD, Damaged, Store
from flare_ray.store.manifest import parted
from flare_ray.study import Study

_SIMULATED = 50_000
"""Runs that are simulated in seconds; more are bounded."""


@dataclass(frozen=True)
class Wall:
    """Seconds from the start to the last run's end on so many places, worker groups at a time.

    simulated: by the board that executes sweeps; else it is the least that it can be. unknown: pieces of work without
    a figure, taken for seconds.
    """

    places: int
    seconds: float
    simulated: bool
    unknown: int


@dataclass(frozen=True)
class Estimate:
    """Of what is left to do. places: worker groups at a time, None where that is not known."""

    stages: Stages
    costs: Costs
    stored: Disk
    places: int | None = None

    @classmethod
    def of(cls, study: Study, stages: Stages, places: int | None = None) -> Estimate:
        """Of a study's stages, by what its store has now."""
        there: list[Work] = [*stages.done, *study.finished_corpora()]
        bases = study.store.finished("bases")
        there += [base for base in study.grid.bases if base.fingerprint in bases]
        return cls(stages, study.costs(), Disk(there, _size_in(study.store)), places)

    @property
    def corpora(self) -> list[Corpus]:
        """Translated splits to make."""
        return [corpus for stage in self.stages.translations for corpus in stage.corpora]

    @property
    def works(self) -> list[Work]:
        """All that is left."""
        return [*self.corpora, *self.stages.bases, *self.stages.todo]

    @cached_property
    def whole(self) -> Sum:
        """Hours of everything that is left."""
        sums = [found for _, found in self.parts.values()]
        bases = dict.fromkeys(basis for found in sums for basis in found.bases)
        hours, unknown = sum(found.hours for found in sums), sum(found.unknown for found in sums)
        return Sum(hours, unknown, tuple(bases))

    @property
    def money(self) -> float | None:
        """Its price, None where the sweep has none."""
        price = self.costs.sweep.resources.price_per_hour
        return self.whole.hours * price if price else None

    @cached_property
    def parts(self) -> dict[tuple[str, str], tuple[int, Sum]]:
        """Of each translator or model, and task: how many splits or runs, and their hours with the base models'."""
        groups: dict[tuple[str, str], list[Work]] = {}
        for work in self.works:
            groups.setdefault(_row(work), []).append(work)
        return {
            key: (sum(not isinstance(work, Base) for work in works), total(self.costs, works))
            for key, works in groups.items()
        }

    @cached_property
    def disk(self) -> Filled:
        """What finished work will fill of the store."""
        return self.stored.total(self.works)

    @property
    def checkpoints(self) -> float | None:
        """Most bytes of unfinished work's checkpoints at a time."""
        if self.places is None:
            return None
        return in_flight([*self.stages.bases, *self.stages.todo], self.places)

    @cached_property
    def wall(self) -> Wall | None:
        """Until everything is done; None where the places are not known."""
        if self.places is None:
            return None
        seconds = _remembered(self.costs.expected)
        if simulated := len(self.stages.todo) <= _SIMULATED:
            most = self.costs.sweep.resources.pack_size
            chance = random.Random(0)  # nothing is drawn: no worker dies
            found = simulate(self.stages, self.places, seconds, chance, seconds, pack_size=most).makespan
        else:
            found = least(self.stages, seconds, self.places)
        return Wall(self.places, found, simulated, self.whole.unknown)


def least(stages: Stages, seconds: Callable[[Work], float], places: int) -> float:
    """Seconds that no schedule can go below: all work's share of a place, and the longest chain of work."""
    before = {base.fingerprint: seconds(base) for base in stages.bases}
    before |= {one.fingerprint: seconds(one) for stage in stages.translations for one in stage.corpora}
    whole = sum(before.values()) + sum(map(seconds, stages.todo))

    def chain(run: Run) -> float:
        needs = (run.base.fingerprint, *(corpus.fingerprint for corpus in run.corpora))
        return seconds(run) + max(before.get(key, 0.0) for key in needs)

    return max(whole / places, max(map(chain, stages.todo), default=0.0))


def _row(work: Work) -> tuple[str, str]:
    if isinstance(work, Corpus):
        return work.translator["model"], work.task
    return (work.cell.model.name, work.cell.task) if isinstance(work, Run) else (work.model.name, work.task)


def _remembered(seconds: Callable[[Work], float]) -> Callable[[Work], float]:
    known: dict[str, float] = {}

    def of(work: Work) -> float:
        key = work.fingerprint
        if key not in known:
            known[key] = seconds(work)
        return known[key]

    return of


def _size_in(store: Store) -> Callable[[str, str], float | None]:
    def size(kind: str, fingerprint: str) -> float | None:
        """Of a record and its files, by its manifest."""
        try:
            content = store.read_bytes(f"{kind}/{fingerprint}/{RECORD}")
            manifest = parted(content)[1]
        except (OSError, Damaged):
            return None
        return len(content) + manifest.size if manifest else None

    return size
