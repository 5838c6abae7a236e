"""Agreement of a record with its predictions: the score that a table shows is computed again from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flare_ray.report.results import Score
from flare_ray.report.statistics import Predictions

_LARGEST = 1e9  # a metric is in points; NaN is not below it either
_TOLERANCE = 1e-6
"""Points; the same code on the same predictions gives the same score to rounding."""


def score_problem(metrics: Any, predictions: Predictions | None, score: Score, metric: str) -> str | None:
    """Return what is wrong with a run's metrics; None where they are those of its predictions.

    metrics: of the record, in points. predictions: None where the run kept none that could be scored; then only the
    metrics themselves are looked at. score, metric: the task's.
    """
    if not isinstance(metrics, Mapping):
        return f"got metrics {_shown(metrics)}; expected an object"
    recorded: dict[str, float] = {}
    for name in sorted({metric, *metrics}):
        value = metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            return f"got {name} {_shown(value)}; expected a finite number"
        recorded[name] = value
    if predictions is None or not len(predictions.ids):
        return None
    computed = score(predictions.gold, predictions.predictions)
    for name, value in sorted(computed.items()):
        if abs(recorded.get(name, math.inf) - value) > _TOLERANCE:
            return f"the record has {name} {_shown(recorded.get(name))}, its predictions give {value:.6g}"
    return None


def _shown(value: Any) -> str:
    return repr(value)[:60]
