"""The interval of an effect: seeds and test instances are both drawn again.

A difference of two rows would come out otherwise with other seeds and with other test instances, so both are
resampled, independently of one another (the pigeonhole bootstrap, Owen 2007): instances with all their translations,
seeds with all their languages, always for both rows at once.

Left as they are, percentiles of so few seeds are too narrow: five seeds resampled give no value outside the five,
have a variance (S - 1)/S of the right one, and normal tails where Student's t with 4 degrees of freedom is due. On
the other hand the part of the spread that belongs to neither seeds nor instances alone is counted three times. BCa
mends neither. So the resamples keep their shape, and get

- the standard error of the two-way table seeds × instances with both random,
  V = (MS_seeds + MS_instances - MS_rest) / (S N), its components cut at 0 (Clark 1973's quasi-F is effect² / V);
- the tails of Student's t with Satterthwaite's (1946) degrees of freedom, S - 1 where seeds dominate, more where the
  test set does: Hesterberg's (2015) expanded percentiles, for two sources of spread.

Macro F1 is no mean over instances: the table has its influence function instead (Efron and Tibshirani 1993, ch. 22).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flare_ray.report.statistics.metrics import Floats
from flare_ray.report.statistics.paired import Paired
from flare_ray.report.statistics.panel import Panel, Resampler

_CHUNK = 2**21
"""Weights held at once: 16 MiB."""


@dataclass(frozen=True)
class Interval:
    """An effect (first row minus second, in points) and where it lies with `confidence`.

    p: two-sided, the largest 1 - confidence at which the interval would still hold 0, at least 2/(resamples + 1).
    standard_error in points; degrees_of_freedom of its t. covers_seeds: False with one seed, whose interval is
    over test instances alone and says nothing of another training.
    """

    effect: float
    low: float
    high: float
    confidence: float
    p: float
    standard_error: float
    degrees_of_freedom: float
    resamples: int
    covers_seeds: bool


def paired_bootstrap(
    pairs: Paired | Sequence[Paired], *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean difference over seeds and, with several pairs, over their languages, with its interval.

    The languages are not resampled: it is about these languages. Seeds are those common to all pairs.
    Time and memory: resamples × instances draws, 2^21 weights at a time.
    """
    panel = Panel.of(pairs)
    differences = panel.differences()
    effect = float(differences.mean())
    error, freedom = standard_error(differences, panel.influence())
    draws = effect + _calibrated(resample(panel, resamples, seed) - effect, error, freedom)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    beyond = 1 + min(np.sum(draws <= 0), np.sum(draws >= 0))
    return Interval(
        effect=effect,
        low=float(low),
        high=float(high),
        confidence=confidence,
        p=min(1.0, 2 * float(beyond) / (resamples + 1)),
        standard_error=error,
        degrees_of_freedom=freedom,
        resamples=resamples,
        covers_seeds=len(panel.seeds) > 1,
    )


def resample(panel: Panel, resamples: int, seed: int) -> Floats:
    """The mean difference of each resample of seeds and instances, as it comes [resamples], in points."""
    chance = np.random.default_rng(seed)
    resampler, n, s = Resampler(panel), panel.instances, len(panel.seeds)
    found = []
    for start in range(0, resamples, step := max(1, _CHUNK // n)):
        size = min(step, resamples - start)
        differences = resampler.differences(_drawn(chance, size, n))
        found.append((differences * _drawn(chance, size, s)).sum(1) / s)
    return np.concatenate(found)


def standard_error(differences: Floats, influence: Floats) -> tuple[float, float]:
    """Standard error of the mean of `differences` [S] and its degrees of freedom; see the module.

    influence [S, N]: what an instance adds to each seed's difference. With one seed, of the instances alone.
    """
    seeds, instances = influence.shape
    by_instance = influence.mean(0)
    ms_instances = seeds * float(by_instance @ by_instance) / max(1, instances - 1)
    if seeds == 1:
        return (ms_instances / instances) ** 0.5, max(1.0, instances - 1)
    ms_seeds = instances * float(differences.var(ddof=1))
    rest = influence - by_instance
    ms_rest = float((rest * rest).sum()) / ((seeds - 1) * max(1, instances - 1))
    spread = max(0.0, ms_seeds - ms_rest) + max(0.0, ms_instances - ms_rest) + ms_rest
    if spread == 0:
        return 0.0, float(seeds - 1)
    uncertain = ms_seeds**2 + (ms_instances**2 + ms_rest**2 / (seeds - 1)) * (seeds - 1) / max(
        1, instances - 1
    )
    return (spread / (seeds * instances)) ** 0.5, (seeds - 1) * spread**2 / uncertain


def _drawn(chance: np.random.Generator, size: int, n: int) -> Floats:
    """How often each of n is drawn in n draws with replacement [size, n]."""
    picked = chance.integers(0, n, (size, n), dtype=np.int64) + n * np.arange(size)[:, None]
    return np.bincount(picked.ravel(), minlength=size * n).reshape(size, n).astype(float)


def _calibrated(deviations: Floats, error: float, freedom: float) -> Floats:
    """Deviations from the effect with this standard error and Student's tails, in the order they had."""
    from scipy import stats  # a second of imports

    spread = float(deviations.std())
    if spread == 0:
        return deviations
    units = deviations / spread
    return error * np.sign(units) * stats.t.isf(stats.norm.sf(np.abs(units)), freedom)
