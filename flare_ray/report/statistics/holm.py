"""Holm's step-down correction for several comparisons.

>>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
{'a': 0.03, 'b': 0.06, 'c': 0.06}
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p values, in the order given: the i-th smallest of m times m - i + 1, never below an earlier one.

    Rejecting where the adjusted p is at most alpha makes the chance of any wrong rejection at most alpha, whatever
    the dependence of the tests (Holm 1979). Raises ValueError for what is no probability.
    """
    wrong = {name: p for name, p in p_values.items() if not 0 <= p <= 1}
    if wrong:
        raise ValueError(f"no probabilities: {wrong}")
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for k, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
