"""Batches by tokens: every text once, the budget held, no batch that could have been one with its neighbour."""

from __future__ import annotations

import itertools
import random

import pytest

from flare_ray.translation.batching import batches


@pytest.mark.parametrize("seed", range(20))
def test_laws(seed: int) -> None:
    draw = random.Random(seed)
    lengths = [draw.randint(0, 60) for _ in range(draw.randint(0, 300))]
    budget = draw.choice([1, 16, 50, 200, 100_000])
    found = batches(lengths, budget)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    order = [index for batch in found for index in batch]
    assert order == sorted(order, key=lambda index: (-lengths[index], index))
    for batch in found:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
    for batch, after in itertools.pairwise(found):
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > budget, after
    assert batches(lengths, budget) == found


def test_no_texts_and_no_budget() -> None:
    assert batches([], 10) == []
    with pytest.raises(ValueError, match="at least 1"):
        batches([1], 0)
