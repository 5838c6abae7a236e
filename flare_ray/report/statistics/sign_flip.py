"""Sign-flip (paired permutation) test of two rows over blocks of language × seed.

What is exchangeable. A block is one training of each row on the same base model (its seed), corpus and test set.
Under the null hypothesis that the row makes no difference, the two runs of a block are two draws of one training, so
swapping them, which flips the sign of the block's difference, changes nothing, whatever the other blocks do. What a
base model or a language does to both rows alike cancels in the difference: blocks that share them are flipped alone.

That is not so where a seed or a language favours one row in all its blocks, as a base model on which fusion works
better does. Then blocks are no longer independent given "no difference on average", and what shares the cause has to
be flipped together: `unit="seed"` tests the mean over other seeds, `unit="language"` over other languages, each with
fewer units and so a larger smallest p. No unit speaks of other test instances: all seeds share them, and translated
test sets all languages. So `conclude` takes "block" and asks the bootstrap's interval too, which is over other seeds
and other instances. The error rates of all of them under each null hypothesis are in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flare_ray.report.statistics.metrics import Floats

Unit = Literal["block", "seed", "language"]
EXACT_UNITS = 16
"""Up to 2^16 assignments are enumerated."""
_CHUNK = 2**20


@dataclass(frozen=True)
class SignFlip:
    """effect: mean difference over blocks, in points. p: two-sided. smallest_p: what the number of units allows.

    units: what is flipped as one; exact: all 2^units assignments, or else `assignments` drawn ones.
    """

    effect: float
    p: float
    smallest_p: float
    unit: Unit
    units: int
    assignments: int
    exact: bool


def permutation_test(
    blocks: Mapping[tuple[str, int], float],
    *,
    unit: Unit = "block",
    resamples: int = 10_000,
    seed: int = 0,
) -> SignFlip:
    """Tests that the mean difference is 0. blocks: (language, seed) -> first row minus second, in points.

    Exact up to 2^16 assignments; above, `resamples` random ones, p = (k + 1)/(resamples + 1) with k as far from 0 as
    what was observed (Phipson and Smyth 2010). Five units can reach no p below 2/2^5 = 0.0625.
    """
    if not blocks:
        raise ValueError("no blocks to test")
    named = {"block": lambda key: key, "seed": lambda key: key[1], "language": lambda key: key[0]}[unit]
    sums: dict[object, float] = {}
    for key, difference in blocks.items():
        sums[named(key)] = sums.get(named(key), 0.0) + difference
    totals = np.array(list(sums.values()))
    observed, n = abs(totals.sum()), len(totals)
    least = observed - 1e-9 * np.abs(totals).sum()  # sums of the same numbers in another order
    if exact := n <= EXACT_UNITS:
        assignments = 2**n
        p = float(np.mean(np.abs(_assignments(n) @ totals) >= least))
    else:
        assignments = resamples
        p = (_further(totals, float(least), resamples, seed) + 1) / (resamples + 1)
    smallest = 2 / 2**n if exact else max(2 / 2**n, 1 / (resamples + 1))
    effect = float(totals.sum()) / len(blocks)
    return SignFlip(effect, p, smallest, unit, n, assignments, exact)


def _assignments(n: int) -> Floats:
    """All signs [2^n, n]."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return 1.0 - 2.0 * bits.astype(float)


def _further(totals: Floats, least: float, resamples: int, seed: int) -> int:
    """How many of so many random assignments give a sum at least so far from 0."""
    chance = np.random.default_rng(seed)
    count = 0
    for start in range(0, resamples, step := max(1, _CHUNK // len(totals))):
        size = min(step, resamples - start)
        signs = 1.0 - 2.0 * chance.integers(0, 2, (size, len(totals)))
        count += int(np.sum(np.abs(signs @ totals) >= least))
    return count
