"""Several languages (or tasks) compared at once: the mean of their differences, on one common set of instances.

Test sets that are translations of one another (XNLI, NusaX) have the same ids: what makes an instance hard is shared
by all its translations, so a resample draws an id with all of them. A language that lacks an id is scored without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flare_ray.report.statistics.metrics import Codes, Floats
from flare_ray.report.statistics.paired import Paired


@dataclass(frozen=True, eq=False)
class Panel:
    """Pairs with their common seeds. instances: N, distinct ids; places: per pair, where its ids are among them.

    left_out: per pair, seeds that it has and another pair, or one of its own rows, lacks.
    """

    pairs: tuple[Paired, ...]
    seeds: tuple[int, ...]
    instances: int
    places: tuple[Codes, ...]
    left_out: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, pairs: Paired | Sequence[Paired]) -> Panel:
        """Raises ValueError without pairs, without a seed common to all, or with a task's language twice."""
        given = (pairs,) if isinstance(pairs, Paired) else tuple(pairs)
        if not given:
            raise ValueError("nothing to compare")
        names = [(pair.task, pair.language) for pair in given]
        if len(set(names)) < len(names):
            raise ValueError(f"a language of a task is there twice: {names}")
        seeds = tuple(sorted(set.intersection(*(set(pair.seeds) for pair in given))))
        if not seeds:
            raise ValueError(f"no seed is common to {names}")
        place: dict[tuple[str, str], int] = {}
        places = [
            np.array([place.setdefault((pair.task, one), len(place)) for one in pair.ids]) for pair in given
        ]
        kept = []
        for pair in given:
            chosen = np.array([pair.seeds.index(seed) for seed in seeds])
            scores = pair.scores.select(chosen, np.arange(len(pair.ids)))
            kept.append(Paired(pair.task, pair.language, seeds, pair.ids, scores))
        left_out = tuple(tuple(sorted({*pair.seeds, *pair.unpaired_seeds} - set(seeds))) for pair in given)
        return cls(tuple(kept), seeds, len(place), tuple(places), left_out)

    def values(self) -> Floats:
        """The metric of both rows by seed, mean over pairs [2, S], in points."""
        return np.mean([pair.values() for pair in self.pairs], axis=0)

    def differences(self) -> Floats:
        """First minus second by seed, mean over pairs [S], in points."""
        first, second = self.values()
        return first - second

    def blocks(self) -> dict[tuple[str, int], float]:
        """First minus second by language (task/language) and seed, in points."""
        return {
            (f"{pair.task}/{pair.language}", seed): difference
            for pair in self.pairs
            for seed, difference in pair.differences().items()
        }

    def influence(self) -> Floats:
        """What an instance, with all its translations, adds to `differences` [S, N]; its mean over instances is 0."""
        table = np.zeros((len(self.seeds), self.instances))
        for pair, place in zip(self.pairs, self.places, strict=True):
            first, second = pair.scores.influence()
            table[:, place] += (first - second) * (self.instances / len(place) / len(self.pairs))
        return table


class Resampler:
    """Differences of a panel on resampled instances. What is summed is laid out once."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.columns = [np.ascontiguousarray(pair.scores.columns()) for pair in panel.pairs]

    def differences(self, weights: Floats) -> Floats:
        """First minus second, mean over pairs [B, S]. weights [B, N]: how often each instance was drawn."""
        total = np.zeros((len(weights), len(self.panel.seeds)))
        for pair, place, columns in zip(self.panel.pairs, self.panel.places, self.columns, strict=True):
            mine = weights if self._same_order(place) else weights[:, place]
            drawn = np.maximum(mine.sum(1), 1)
            scores = pair.scores.of(mine @ columns, drawn)
            total += scores[:, 0] - scores[:, 1]
        return total / len(self.panel.pairs)

    def _same_order(self, place: Codes) -> bool:
        return np.array_equal(place, np.arange(self.panel.instances))
