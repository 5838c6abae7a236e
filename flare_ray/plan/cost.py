"""What a sweep will cost: measured where its own finished runs say so, estimated from operations where not.

    costs = Costs(sweep, grid, finished_runs, finished_bases, read)
    costs.of(run).seconds, costs.of(run).basis     # 812.0, "3 finished runs on NVIDIA A100-SXM4-80GB"

A run is measured by finished runs of the same model, task and method (other languages, seeds, ranks, fusions). An
estimate counts 2 operations per parameter and token of a forward pass, 4 of a training step on a frozen base: the
source states of FLARE are one more pass, made once; methods that read both texts in every step read twice as much.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from flare_ray import registry
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Grid, Run
from flare_ray.plan.schema import Resources, Sweep
from flare_ray.plan.sizes import CPU_CORE, PEAK, ROWS, TOKENS, UTILISATION, parameters

_SAMPLED = 3
Read = Callable[[str, str], Mapping[str, Any]]
"""A record, of a kind and a fingerprint."""
Work = Run | Base | Corpus
Group = tuple[str, str, str]


@dataclass(frozen=True)
class Cost:
    """Seconds of a worker group's time, None when nothing is known; and what that is taken from."""

    seconds: float | None
    basis: str


UNKNOWN = Cost(None, "unknown")
_UNKNOWN_SECONDS = 10.0  # little, so that the first packs are not too large to share


class Costs:
    """Costs of a sweep's work. finished: fingerprints of the store's finished runs and base models."""

    def __init__(self, sweep: Sweep, grid: Grid, runs: Collection[str], bases: Collection[str], read: Read):
        self.sweep, self.read = sweep, read
        self._samples: dict[Group, list[tuple[str, str]]] = {}
        for run in grid.runs:
            if run.fingerprint in runs:
                self._sample(_group(run), "runs", run.fingerprint)
        for base in grid.bases:
            if base.fingerprint in bases:
                self._sample(_group(base), "bases", base.fingerprint)
        self._measured: dict[Group, Cost | None] = {}
        self._counted: dict[tuple[Any, ...], Cost] = {}

    def of(self, work: Work) -> Cost:
        """What a piece of work costs."""
        if isinstance(work, Corpus):
            return UNKNOWN
        return self._measure(_group(work)) or self._estimate(work)

    def expected(self, work: Work) -> float:
        """Seconds for a schedule, which needs some number."""
        return self.of(work).seconds or _UNKNOWN_SECONDS

    def _sample(self, group: Group, kind: str, fingerprint: str) -> None:
        samples = self._samples.setdefault(group, [])
        if len(samples) < _SAMPLED:
            samples.append((kind, fingerprint))

    def _measure(self, group: Group) -> Cost | None:
        if group not in self._measured:
            found = [one for sample in self._samples.get(group, []) if (one := self._wall(*sample))]
            self._measured[group] = _together(found) if found else None
        return self._measured[group]

    def _wall(self, kind: str, fingerprint: str) -> tuple[float, str] | None:
        """Seconds and device of a record; None for one that cannot be read, which `flare-ray store verify` tells."""
        try:
            record = self.read(kind, fingerprint)
            return record["cost"]["wall_seconds"], record["provenance"].get("device", "?")
        except (ValueError, KeyError, OSError):
            return None

    def _estimate(self, work: Run | Base) -> Cost:
        model, task = (work.cell.model, work.cell.task) if isinstance(work, Run) else (work.model, work.task)
        epochs = work.settings.get("epochs", 0)
        key = (*_group(work), epochs, work.settings.get("max_length"))
        if key not in self._counted:
            size = parameters(model.checkpoint)
            if size is None or task not in ROWS:
                return self._counted.setdefault(key, UNKNOWN)
            operations = size * _passes(work, task, epochs) * 2
            speed, device = self.speed(self.sweep.resources_of(model.name, task))
            self._counted[key] = Cost(operations / speed, f"operations, on {device}")
        return self._counted[key]

    @staticmethod
    def speed(resources: Resources) -> tuple[float, str]:
        """FLOP/s that a worker group is assumed to reach, and on what."""
        share = f"{UTILISATION:.0%} of "
        if resources.gpus_per_worker:
            kind = (resources.accelerator_type or "A100").partition("-")[0]
            peak = PEAK.get(kind, PEAK["A100"])
            count = resources.workers * resources.gpus_per_worker
            return count * peak * UTILISATION, f"{share}{count:g} × {kind} at {peak / 1e12:g} TFLOP/s"
        cores = resources.workers * resources.cpus_per_worker
        return cores * CPU_CORE * UTILISATION, f"{share}{cores:g} CPU cores at {CPU_CORE / 1e9:g} GFLOP/s"


@dataclass(frozen=True)
class Sum:
    """Costs added up. hours: of GPUs, or of CPU cores where there are none; unknown: pieces without a figure."""

    hours: float
    unknown: int
    bases: tuple[str, ...]


def total(costs: Costs, works: Iterable[Run | Base]) -> Sum:
    """What works cost together."""
    hours, unknown, bases = 0.0, 0, dict[str, None]()
    for work in works:
        cost = costs.of(work)
        bases[cost.basis] = None
        if cost.seconds is None:
            unknown += 1
            continue
        model, task = (work.cell.model, work.cell.task) if isinstance(work, Run) else (work.model, work.task)
        resources = costs.sweep.resources_of(model.name, task)
        devices = resources.workers * (resources.gpus_per_worker or resources.cpus_per_worker)
        hours += cost.seconds * devices / 3600
    return Sum(hours, unknown, tuple(bases))


def _group(work: Run | Base) -> Group:
    if isinstance(work, Run):
        return work.cell.model.name, work.cell.task, work.cell.method
    return work.model.name, work.task, "base"


def _together(found: list[tuple[float, str]]) -> Cost:
    devices = ", ".join(dict.fromkeys(device for _, device in found))
    return Cost(median(seconds for seconds, _ in found), f"{len(found)} finished on {devices}")


def _passes(work: Run | Base, task: str, epochs: int) -> float:
    """Tokens × forward passes' worth: 1 for a forward pass, 2 for a training step on a frozen base."""
    train, validation, test = ROWS[task]
    tokens = min(TOKENS[task], work.settings["max_length"])
    if isinstance(work, Base):
        return tokens * (2 * train * epochs + validation * epochs + test)
    method = registry.load("methods", work.cell.method)
    width = 2 if method.joins or method.trains_on_source else 1
    once = 1 if method.reads == "both" and width == 1 else 0
    trained = (2 * width * train + width * validation) * epochs + once * (train + validation)
    return tokens * ((trained if method.trains else 0) + (width + once) * test)
