"""A metric of two rows on any reweighting of the test instances, in points (0 to 100).

Both kinds are functions of sums over instances, so thousands of resamples are one matrix product: `columns` are
summed with a resample's weights (how often it drew each instance), and `of` makes the metric from the sums.

S seeds, N instances, B resamples, K classes; the first axis of length 2 is the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Means:
    """A mean of per-instance scores: accuracy, exact match, F1. values [2, S, N], in points."""

    values: Floats

    def select(self, seeds: Codes, instances: Codes) -> Means:
        """Only these seeds and instances, by position."""
        return Means(self.values[:, seeds][:, :, instances])

    def swapped(self) -> Means:
        """The rows in the other order."""
        return Means(self.values[::-1])

    def columns(self) -> Floats:
        """What is summed: [N, 2S]."""
        return self.values.reshape(-1, self.values.shape[2]).T

    def of(self, sums: Floats, drawn: Floats) -> Floats:
        """The metric [B, 2, S] from sums [B, 2S] over `drawn` [B] instances."""
        return (sums / drawn[:, None]).reshape(len(sums), 2, -1)

    def influence(self) -> Floats:
        """What an instance adds to the metric beside the mean instance [2, S, N]; its mean over instances is 0."""
        return self.values - self.values.mean(2, keepdims=True)


@dataclass(frozen=True, eq=False)
class MacroF1:
    """Mean over classes of F1 = 2 tp / (predicted + gold), 0 where a class is on neither side.

    gold [N] codes from 0 to K - 1; predicted [2, S, N] codes, -1 for what names no class (counts as wrong).
    """

    gold: Codes
    predicted: Codes
    classes: int

    def select(self, seeds: Codes, instances: Codes) -> MacroF1:
        """Only these seeds and instances, by position."""
        return MacroF1(self.gold[instances], self.predicted[:, seeds][:, :, instances], self.classes)

    def swapped(self) -> MacroF1:
        """The rows in the other order."""
        return MacroF1(self.gold, self.predicted[::-1], self.classes)

    def _indicators(self) -> tuple[Floats, Floats, Floats]:
        """1 where: the prediction names a class and is right, it names it, the class is gold; each [2, S, K, N]."""
        each = np.arange(self.classes)[:, None]
        gold = (self.gold == each).astype(float)
        named = (self.predicted[:, :, None, :] == each).astype(float)
        return named * gold, named, np.broadcast_to(gold, named.shape)

    def columns(self) -> Floats:
        """What is summed: 2 tp and predicted + gold of each row, seed and class, [N, 2 · 2SK]."""
        right, named, gold = self._indicators()
        return np.stack([2 * right, named + gold]).reshape(-1, len(self.gold)).T

    def of(self, sums: Floats, drawn: Floats) -> Floats:
        """The metric [B, 2, S] from sums [B, 2 · 2SK]."""
        above, below = np.split(sums.reshape(len(sums), -1, self.classes), 2, axis=1)
        f1 = np.where(below > 0, above / np.maximum(below, 1), 0.0)
        return 100 * f1.mean(2).reshape(len(sums), 2, -1)

    def influence(self) -> Floats:
        """What an instance adds to the metric [2, S, N], to first order (influence function); its mean is 0."""
        right, named, gold = self._indicators()
        above, below = 2 * right, named + gold
        below_all = np.maximum(below.sum(3, keepdims=True), 1)
        f1 = above.sum(3, keepdims=True) / below_all
        return 100 * len(self.gold) * ((above - f1 * below) / below_all).mean(2)


def whole(metric: Means | MacroF1) -> Floats:
    """The metric on all instances, each once [2, S]."""
    columns = metric.columns()
    return metric.of(columns.sum(0)[None], np.array([float(len(columns))]))[0]
