"""Which runs of a search stop within their training: asynchronous successive halving over validations (ASHA, Li et
al., 2020).

At a rung, a share of the training, a run goes on when its best validation so far is among the best of those that have
come there, on the same language and with the same seed. The training that the others would have had is saved; their
configurations cannot win.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Curve = Sequence[tuple[float, float]]
"""Of each validation the share of the training, in (0, 1], and the objective."""


@dataclass
class Pruner:
    """Compares runs within contests. rungs: shares of a training; factor: one run in so many goes on."""

    rungs: tuple[float, ...]
    factor: int
    _there: defaultdict[tuple[str, float], dict[str, float]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def hopeless(self, contest: str, run: str, curve: Curve) -> bool:
        """Notes how a run has come so far; whether it should stop at the last rung that it has reached.

        Never before 2 x factor runs are there: of two or three, the worse one says little.
        """
        verdict = False
        for rung in self.rungs:
            value = best_at(curve, rung)
            if value is None or self.factor <= 1:
                break
            there = self._there[contest, rung]
            there[run] = value
            better = sum(other > value for other in there.values())
            verdict = len(there) >= 2 * self.factor and better >= math.ceil(len(there) / self.factor)
        return verdict


def training_share(validation: Mapping[str, float], settings: Mapping[str, Any]) -> float:
    """Return the share of a training, in (0, 1], after which a validation came: of its epochs, or of its steps.

    validation: an entry of a record's history.
    """
    steps = settings.get("max_steps")
    of_steps = validation["step"] / steps if steps else 0.0
    return max(validation["epoch"] / settings["epochs"], of_steps)


def best_at(curve: Curve, rung: float) -> float | None:
    """The best validation up to the first one at a share of the training or behind it; None before that."""
    best = -math.inf
    for share, value in curve:
        best = max(best, value)
        if share >= rung - 1e-9:
            return best
    return None
