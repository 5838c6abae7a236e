"""What a sweep says of one row against another: effect, interval, tests, and a verdict that may be "too few".

>>> import numpy as np
>>> from flare_ray.report.statistics.metrics import Means
>>> scores = np.zeros((2, 5, 40)); scores[0, :, :20] = 100
>>> pair = Paired("nusax", "ace", (1, 2, 3, 4, 5), tuple(map(str, range(40))), Means(scores))
>>> conclude({"flare - lora": [pair]})["flare - lora"].verdict
<Verdict.TOO_FEW: 'too few to conclude'>
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from flare_ray.report.statistics.bootstrap import Interval, paired_bootstrap
from flare_ray.report.statistics.holm import holm
from flare_ray.report.statistics.order import MINIMUM_RUNS, almost_stochastic_order
from flare_ray.report.statistics.paired import Paired
from flare_ray.report.statistics.panel import Panel
from flare_ray.report.statistics.sign_flip import SignFlip, permutation_test

Key = TypeVar("Key", bound=Hashable)


class Verdict(StrEnum):
    """BETTER: the first row is."""

    TOO_FEW = "too few to conclude"
    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True)
class Conclusion:
    """One comparison: first row minus second, over languages × seeds.

    p: the larger one of the sign-flip test's and the interval's: each holds where the other's assumptions fail.
    p_adjusted: Holm over the family it was concluded with. smallest_p: the least p that so many blocks allow.
    aso: ε_min of the first row's means over languages by seed being above the second's; None below 5 seeds.
    instances: distinct test instances (translations of one counted once). left_out: task/language -> seeds that were
    not used as one of the rows, or another language, lacks them. unpaired_instances: not predicted by every run.
    """

    interval: Interval
    test: SignFlip
    p: float
    p_adjusted: float
    smallest_p: float
    aso: float | None
    seeds: tuple[int, ...]
    languages: int
    instances: int
    left_out: Mapping[str, tuple[int, ...]]
    unpaired_instances: int
    verdict: Verdict

    @property
    def effect(self) -> float:
        """Mean difference, in points."""
        return self.interval.effect

    def __str__(self) -> str:
        within = f"{self.effect:+.1f} points [{self.interval.low:+.1f}, {self.interval.high:+.1f}]"
        size = f"{_count(self.seeds, 'seed')}, {_count(range(self.languages), 'language')}"
        text = f"{within}, p = {_rounded(self.p)} (Holm {_rounded(self.p_adjusted)}), {size}, "
        text += f"{self.instances:,} instances: {self.verdict}"
        notes = [] if self.interval.covers_seeds else ["the interval is over test instances alone"]
        if lost := {seed for seeds in self.left_out.values() for seed in seeds}:
            notes.append(f"not in every row and language: {_count(sorted(lost), 'seed')}")
        if self.unpaired_instances:
            notes.append(f"{self.unpaired_instances:,} instances not in all runs")
        return f"{text} ({'; '.join(notes)})" if notes else text


def conclude(
    family: Mapping[Key, Sequence[Paired]],
    *,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[Key, Conclusion]:
    """Concludes a family of comparisons (say FLARE minus each other row), each over its languages.

    BETTER or WORSE where the Holm-adjusted p is at most alpha, so the chance of any such wrong verdict in the family
    is at most alpha where, for each comparison, one of the two tests' assumptions holds.
    TOO_FEW with one seed, or where even the clearest outcome of so many blocks could not have been significant beside
    the others: no size of the effect would have shown.
    """
    found = {name: _alone(pairs, alpha, resamples, seed) for name, pairs in family.items()}
    p_values = {name: one.p for name, one in found.items()}
    adjusted = holm(p_values)
    concluded = {}
    for name, one in found.items():
        clearest = holm({**p_values, name: one.smallest_p})[name]
        hopeless = clearest > alpha or len(one.seeds) < 2
        verdict = Verdict.TOO_FEW if hopeless else _verdict(one.effect, adjusted[name], alpha)
        concluded[name] = replace(one, p_adjusted=adjusted[name], verdict=verdict)
    return concluded


def _alone(pairs: Sequence[Paired], alpha: float, resamples: int, seed: int) -> Conclusion:
    panel = Panel.of(pairs)
    interval = paired_bootstrap(panel.pairs, resamples=resamples, confidence=1 - alpha, seed=seed)
    test = permutation_test(panel.blocks(), resamples=resamples, seed=seed)
    first, second = panel.values().tolist()
    few = len(panel.seeds) < MINIMUM_RUNS
    names = [f"{pair.task}/{pair.language}" for pair in panel.pairs]
    return Conclusion(
        interval=interval,
        test=test,
        p=max(interval.p, test.p),
        p_adjusted=1.0,
        smallest_p=max(test.smallest_p, 2 / (resamples + 1)),
        aso=None if few else almost_stochastic_order(first, second, confidence=1 - alpha, seed=seed),
        seeds=panel.seeds,
        languages=len(panel.pairs),
        instances=panel.instances,
        left_out={name: seeds for name, seeds in zip(names, panel.left_out, strict=True) if seeds},
        unpaired_instances=sum(pair.unpaired_instances for pair in pairs),
        verdict=Verdict.TOO_FEW,
    )


def _verdict(effect: float, p: float, alpha: float) -> Verdict:
    if p > alpha:
        return Verdict.NO_DIFFERENCE
    return Verdict.BETTER if effect > 0 else Verdict.WORSE


def _count(things: Sequence[int], name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"


def _rounded(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
