"""Which configurations of a search get another seed: asynchronous successive halving over seeds (Li et al., 2020).

A configuration starts with one seed. It gets more, in rungs of 1, 2, 4, … seeds up to all of them, when its mean is
among the best half of the configurations that have come as far; the same seeds are compared everywhere. What stays
behind stops there: it cannot win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean


def rungs(seeds: int, factor: int) -> list[int]:
    """Numbers of seeds after which configurations are compared: 1, 2, 4, … and all. One rung when factor is 1."""
    if factor <= 1:
        return [seeds]
    found, count = [], 1
    while count < seeds:
        found.append(count)
        count *= factor
    return [*found, seeds]


@dataclass
class Candidate:
    """A configuration in the race. values: the objective by seed, in the order of the seeds; None failed.

    dropped: its objective so far, when one of its runs was stopped within its training (pruning.py).
    """

    number: int
    config: dict[str, object]
    values: list[float | None] = field(default_factory=list)
    wanted: int = 0
    dropped: float | None = None

    @property
    def failed(self) -> bool:
        """Whether a seed of it has failed."""
        return None in self.values

    @property
    def out(self) -> bool:
        """Whether it takes no more part: it has failed or was dropped."""
        return self.failed or self.dropped is not None

    def score(self, seeds: int) -> float:
        """Mean over the first seeds."""
        return mean(value for value in self.values[:seeds] if value is not None)


@dataclass
class Race:
    """Candidates and their rungs. factor: one in so many continues; 1 gives every candidate all seeds."""

    seeds: int
    factor: int = 2
    candidates: list[Candidate] = field(default_factory=list)

    def enter(self, config: dict[str, object]) -> Candidate:
        """A new candidate, wanting its first seeds."""
        new = Candidate(len(self.candidates), config, wanted=rungs(self.seeds, self.factor)[0])
        self.candidates.append(new)
        return new

    def promote(self, no_more: bool) -> list[Candidate]:
        """Candidates that may have more seeds now, their `wanted` raised.

        no_more: no candidate will enter any more, so that the best one always continues.
        """
        steps = rungs(self.seeds, self.factor)
        promoted = []
        for step, following in pairwise(steps):
            there = [one for one in self.candidates if self._has(one, step)]
            best = sorted(there, key=lambda one: (-one.score(step), one.number))
            all_there = no_more and not any(self._may_reach(one, step) for one in self.candidates)
            count = max(len(there) // self.factor, 1 if all_there and there else 0)
            for one in best[:count]:
                if one.wanted == step:
                    one.wanted = following
                    promoted.append(one)
        return promoted

    def stopped(self, one: Candidate) -> bool:
        """Whether it has what it wanted, and that is not everything."""
        return not one.out and len(one.values) == one.wanted < self.seeds

    def best(self) -> Candidate | None:
        """The best of those that have all seeds, the earliest of equals."""
        whole = [one for one in self.candidates if self._has(one, self.seeds)]
        return max(whole, key=lambda one: (one.score(self.seeds), -one.number), default=None)

    @staticmethod
    def _has(one: Candidate, seeds: int) -> bool:
        return not one.out and len(one.values) >= seeds

    @staticmethod
    def _may_reach(one: Candidate, seeds: int) -> bool:
        """Whether it is still on its way to a rung."""
        return not one.out and len(one.values) < one.wanted and len(one.values) < seeds <= one.wanted


def ordered(values: dict[int, float | None], seeds: Sequence[int]) -> list[float | None]:
    """Values of the seeds that are there, without a gap, in the order of the seeds."""
    found = []
    for seed in seeds:
        if seed not in values:
            break
        found.append(values[seed])
    return found
