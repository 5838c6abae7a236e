"""Almost stochastic order: does one row's distribution of scores over trainings lie above the other's?

F and G are the distributions of the scores of two rows over seeds, F⁻¹ and G⁻¹ their quantile functions. F is
stochastically larger when F⁻¹(t) ≥ G⁻¹(t) for all t: whatever share of trainings one looks at, best or worst, the
first row's are better. What speaks against it is the share of the squared distance between them that lies the other
way (del Barrio et al. 2018):

    ε = ∫_{F⁻¹ < G⁻¹} (F⁻¹ - G⁻¹)² dt / ∫ (F⁻¹ - G⁻¹)² dt,   0: F above everywhere, 1: G above everywhere

`almost_stochastic_order` gives ε_min, its upper confidence bound (Dror et al. 2019): below 0.5 the first row is
"almost stochastically dominant" with that confidence; Ulmer et al. 2022 ask for less than 0.2, as 0.5 errs too often.

ε sees trainings alone: not their pairing, not the test set, not how large the difference is. Its bootstrap needs
runs: from 5 (`MINIMUM_RUNS`) of each row it is worth reading at all, and even then errs more often than its
confidence says (docs/statistics.md has the rates). So `conclude` reports it and decides nothing by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flare_ray.report.statistics.metrics import Floats

MINIMUM_RUNS = 5


def violation_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """ε of the scores a [n] and b [m]: 0 where a's lie above everywhere, 1 where b's do, 0.5 if they are the same."""
    return float(_ratios(np.array([a], dtype=float), np.array([b], dtype=float))[0])


def almost_stochastic_order(
    a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95, seed: int = 0, resamples: int = 1000
) -> float:
    """ε_min of "a is better than b", 0 to 1: ε + Φ⁻¹(confidence) σ / √(nm/(n + m)), σ from a bootstrap.

    Raises ValueError below two scores each. With scores that are all the same nothing can be claimed: 1.
    """
    from scipy import stats  # a second of imports

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} runs have no spread; wanted 2 or more of each")
    if np.ptp(np.concatenate([first, second])) == 0:
        return 1.0
    chance = np.random.default_rng(seed)
    drawn = [one[chance.integers(0, len(one), (resamples, len(one)))] for one in (first, second)]
    scale = (len(first) * len(second) / (len(first) + len(second))) ** 0.5
    ratio = violation_ratio(a, b)
    sigma = float(np.std(scale * (_ratios(*drawn) - ratio)))
    return float(np.clip(ratio + stats.norm.ppf(confidence) * sigma / scale, 0, 1))


def _ratios(a: Floats, b: Floats) -> Floats:
    """ε of each row of a [B, n] and b [B, m]: quantile functions are steps, so the integrals are sums, and exact."""
    n, m = a.shape[1], b.shape[1]
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1/(nm)
    widths = np.diff(ends, prepend=0)
    at_a: NDArray[np.int64] = (ends - 1) // m
    at_b: NDArray[np.int64] = (ends - 1) // n
    gap = np.sort(a)[:, at_a] - np.sort(b)[:, at_b]
    against = (np.minimum(gap, 0) ** 2 * widths).sum(1)
    distance = (gap**2 * widths).sum(1)
    return np.where(distance > 0, against / np.where(distance > 0, distance, 1), 0.5)
