"""A cell's runs in numbers: mean, standard deviation, count and confidence interval over its seeds.

The interval is Student's, at 95%, over the seeds' test metrics. It says how far the mean of such runs may lie from
what more seeds would give; it does not compare methods (`flare-ray report` does, paired).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

LEVEL = 0.95
_MEANS = ("wall_seconds", "train_seconds", "step_ms", "tokens_per_second", "chosen_step", "chosen_epoch")
_SUMS = ("gpu_seconds",)
_PEAKS = ("peak_process_mib", "peak_gpu_mib", "trainable_parameters")


def aggregate(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """What a cell's parent run shows, from the metrics of its runs.

    Of each test metric its mean under the metric's own name, so that cells and runs share a column, and `_mean`,
    `_std` (of a sample), `_ci_low`, `_ci_high`; `n`, the number of runs. Of one run alone neither deviation nor
    interval. Costs: means, GPU seconds' sum, memory's peak.
    """
    every = list(runs)
    found: dict[str, float] = {"test_seeds": float(len(every))}
    for name in sorted({name for run in every for name in run if name.startswith("test_")}):
        values = [run[name] for run in every if name in run]
        found |= {name: _mean(values)} if "/" in name else _spread(name, values)
    ways = [(_MEANS, _mean), (_SUMS, sum), (_PEAKS, max)]
    for names, way in ways:
        for name in names:
            if values := [run[name] for run in every if name in run]:
                found[name] = float(way(values))  # type: ignore[operator]
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's confidence interval of the mean of at least two values."""
    from scipy.special import stdtrit

    n = len(values)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * _deviation(values) / math.sqrt(n)
    return _mean(values) - half, _mean(values) + half


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    mean = _mean(values)
    found = {name: mean, f"{name}_mean": mean}
    if len(values) > 1:
        low, high = interval(values)
        found |= {f"{name}_std": _deviation(values), f"{name}_ci_low": low, f"{name}_ci_high": high}
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
