"""What a sweep will cost: measured where its own finished runs say so, estimated from operations where not.

    costs = Costs(sweep, grid, finished_runs, finished_bases, read, translations)
    costs.of(run).seconds, costs.of(run).basis     # 812.0, "3 finished on NVIDIA A100-SXM4-80GB"

A run is measured by finished runs of the same model, task and method (other languages, seeds, ranks, fusions), in
proportion to what is counted of each: epochs, rows, tokens. An estimate counts 2 operations per parameter and token
of a forward pass, 4 of a training step on a frozen base: the source states of FLARE are one more pass, made once;
methods that read both texts in every step read twice as much. Translated splits are a matter of their own
(translation_cost.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import median
from typing import TYPE_CHECKING, Any

from flare_ray import registry
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Grid, Run
from flare_ray.plan.row_counts import Amount, amount_here
from flare_ray.plan.schema import Sweep
from flare_ray.plan.sizes import HUB_ROWS, ROWS, TOKENS, parameters, rows, speed
from flare_ray.store import Damaged

if TYPE_CHECKING:
    from flare_ray.plan.translation_cost import TranslationCosts

_SAMPLED = 3
_GUESSED = Amount((800, 100, 100), (50, 50, 50))
"""Guessed for a task that is not known, to compare its runs with one another."""
Read = Callable[[str, str], Mapping[str, Any]]
"""A record, of a kind and a fingerprint."""
Work = Run | Base | Corpus
Group = tuple[str, str, str]
Measured = tuple[float, str, float]
"""Seconds of a finished run, on what, and the passes that are counted of it."""


@dataclass(frozen=True)
class Cost:
    """Seconds of a worker group's time, None when nothing is known; and what that is taken from."""

    seconds: float | None
    basis: str


UNKNOWN = Cost(None, "unknown")
_UNKNOWN_SECONDS = 10.0  # little, so that the first packs are not too large to share


class Costs:
    """Costs of a sweep's work.

    runs, bases: fingerprints of the store's finished ones. translations: what knows the costs of translated splits;
    without it they are unknown.
    """

    def __init__(
        self,
        sweep: Sweep,
        grid: Grid,
        runs: Collection[str],
        bases: Collection[str],
        read: Read,
        translations: TranslationCosts | None = None,
    ):
        self.sweep, self.read, self.translations = sweep, read, translations
        self._resources = cache(sweep.resources_of)
        self._samples: dict[Group, list[tuple[str, Run | Base]]] = {}
        for run in grid.runs:
            if run.fingerprint in runs:
                self._sample("runs", run)
        for base in grid.bases:
            if base.fingerprint in bases:
                self._sample("bases", base)
        self._measured: dict[Group, list[Measured]] = {}
        self._known: dict[tuple[Any, ...], Cost] = {}
        self._amounts: dict[tuple[Any, ...], Amount | None] = {}

    def of(self, work: Work) -> Cost:
        """What a piece of work costs."""
        if isinstance(work, Corpus):
            return self.translations.of(work) if self.translations else UNKNOWN
        languages = _languages(work)
        settings = (work.settings.get(name) for name in ("epochs", "max_steps", "batch_size", "max_length"))
        key = (*_group(work), *languages, *settings)
        if key not in self._known:
            self._known[key] = self._measure(work) or self._estimate(work)
        return self._known[key]

    @cached_property
    def unit(self) -> str:
        """What hours are of: "GPU", or "CPU" (cores) where none of the sweep's work takes a GPU."""
        sweep, pool = self.sweep, self.translations and self.translations.pool
        every = [self._resources(model.name, task) for model in sweep.models for task in sweep.tasks]
        return "GPU" if any(one.gpus_per_worker for one in [*every, *([pool] if pool else [])]) else "CPU"

    def devices(self, work: Work) -> float:
        """Devices of that kind that it holds while it lasts."""
        if isinstance(work, Corpus):
            if self.translations is None:
                return 0.0
            resources = self.translations.pool
        else:
            resources = self._resources(*_group(work)[:2])
        of_one = resources.gpus_per_worker if self.unit == "GPU" else resources.cpus_per_worker
        return resources.workers * of_one

    def expected(self, work: Work) -> float:
        """Seconds for a schedule, which needs some number."""
        return self.of(work).seconds or _UNKNOWN_SECONDS

    def _sample(self, kind: str, work: Run | Base) -> None:
        samples = self._samples.setdefault(_group(work), [])
        if len(samples) < _SAMPLED:
            samples.append((kind, work))

    def _measure(self, work: Run | Base) -> Cost | None:
        group, amount = _group(work), self._passes(work)
        if group not in self._measured:
            every = (self._wall(*sample) for sample in self._samples.get(group, []))
            self._measured[group] = [one for one in every if one]
        if not (found := self._measured[group]):
            return None
        devices = ", ".join(dict.fromkeys(device for _, device, _ in found))
        seconds = median(seconds * (amount / theirs) for seconds, _, theirs in found)
        return Cost(seconds, f"{len(found)} finished on {devices}")

    def _wall(self, kind: str, work: Run | Base) -> Measured | None:
        """Of a record; None for one that cannot be read, which `flare-ray store verify` tells."""
        try:
            record = self.read(kind, work.fingerprint)
            seconds = float(record["cost"]["wall_seconds"])
            if not math.isfinite(seconds):
                return None
            return seconds, str(record["provenance"].get("device", "?")), self._passes(work)
        except (Damaged, ArithmeticError, AttributeError, KeyError, OSError, TypeError, ValueError):
            return None

    def _estimate(self, work: Run | Base) -> Cost:
        base = work.base if isinstance(work, Run) else work
        size = parameters(base.model.checkpoint)
        amount = self._amount(work)
        if size is None or amount is None:
            return UNKNOWN
        rate, device = speed(self._resources(base.model.name, base.task))
        return Cost(
            size * self._passes(work) * 2 / rate,
            "; ".join(filter(None, (f"operations, on {device}", amount.basis))),
        )

    def _passes(self, work: Run | Base) -> float:
        """Return the passes of a piece of work; of data of unknown size, for comparison with others on it alone."""
        return _passes(work, self._amount(work) or _GUESSED)

    def _amount(self, work: Run | Base) -> Amount | None:
        """Return what a piece of work reads, looked up once per data, languages and length."""
        base = work.base if isinstance(work, Run) else work
        key = (base.task, base.source, *_languages(work), work.settings["max_length"])
        if key not in self._amounts:
            self._amounts[key] = _amount(work)
        return self._amounts[key]


@dataclass(frozen=True)
class Sum:
    """Costs added up. hours: of GPUs, or of CPU cores where there are none; unknown: pieces without a figure."""

    hours: float
    unknown: int
    bases: tuple[str, ...]


def total(costs: Costs, works: Iterable[Work]) -> Sum:
    """What works cost together."""
    hours, unknown, bases = 0.0, 0, dict[str, None]()
    for work in works:
        cost = costs.of(work)
        bases[cost.basis] = None
        if cost.seconds is None:
            unknown += 1
        else:
            hours += cost.seconds * costs.devices(work) / 3600
    return Sum(hours, unknown, tuple(bases))


def _group(work: Run | Base) -> Group:
    if isinstance(work, Run):
        return work.cell.model.name, work.cell.task, work.cell.method
    return work.model.name, work.task, "base"


def _passes(work: Run | Base, amount: Amount) -> float:
    """Return tokens × forward passes' worth: 1 for a forward pass, 2 for a training step on a frozen base."""
    epochs, limit = work.settings.get("epochs", 0), work.settings.get("limit") or math.inf
    rows_read = [min(count, limit) for count in amount.rows]
    if "max_steps" in work.settings:
        steps_per_epoch = max(1, math.ceil(rows_read[0] / work.settings["batch_size"]))
        epochs = min(epochs, work.settings["max_steps"] / steps_per_epoch)
    train, validation, test = (count * tokens for count, tokens in zip(rows_read, amount.tokens, strict=True))
    if isinstance(work, Base):
        return 2 * train * epochs + validation * epochs + test
    method = registry.load("methods", work.cell.method)
    width = 2 if method.joins or method.trains_on_source else 1
    once = 1 if method.reads == "both" and width == 1 else 0
    trained = (2 * width * train + width * validation) * epochs + once * (train + validation)
    return (trained if method.trains else 0) + (width + once) * test


def _languages(work: Run | Base) -> tuple[str, str, str]:
    """Return in which language a piece of work reads train, validation and test rows."""
    if isinstance(work, Base):
        english = registry.load("tasks", work.task).source_language
        return english, english, english
    language, translated = work.cell.language, {corpus.split for corpus in work.corpora}
    english = registry.load("tasks", work.cell.task).source_language
    train, validation = (english if split in translated else language for split in ("train", "validation"))
    return train, validation, language


def _amount(work: Run | Base) -> Amount | None:
    """Return what work reads: counted where the data is here, else the hub's figures; None where nothing is known."""
    base = work.base if isinstance(work, Run) else work
    longest = work.settings["max_length"]
    if found := amount_here(base.task, base.source, _languages(work), longest):
        return found
    if rows(base.task, base.source, "train") is None:
        return None
    train, validation, test = ROWS[base.task]
    tokens = float(min(TOKENS[base.task], longest))
    is_hubs = base.source == registry.load("tasks", base.task).hub
    return Amount((train, validation, test), (tokens, tokens, tokens), "" if is_hubs else HUB_ROWS)
