"""Batches of about equal work: texts of similar length together, as many as a number of tokens allows."""

from __future__ import annotations

from collections.abc import Sequence


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of texts in batches, the longest first; equal lengths in order of index.

    lengths: tokens of each text. budget: most tokens of a batch, padding counted (rows × longest). A text that is
    longer than the budget is a batch of its own. Every index is in exactly one batch.

    >>> batches([3, 9, 4, 1], budget=9)
    [[1], [2, 0], [3]]
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} tokens; wanted at least 1")
    found: list[list[int]] = []
    rows = 0  # that fit into the last batch
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if not found or len(found[-1]) >= rows:
            found.append([])
            rows = max(1, budget // max(1, lengths[index]))
        found[-1].append(index)
    return found
