"""Which rows make up each optimiser step, and which worker sees which of them in which micro-batch.

The order depends on the seed and the epoch only. A step's gradient is the mean over its whole batch, however many
workers and micro-batches it is spread over: each micro-batch's loss carries its share as a weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass on one worker.

    weight: what the mean loss over these rows is multiplied by so that averaging over micro-batches and workers
    gives the mean over the whole batch.
    """

    rows: list[int]
    weight: float


def epoch_batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """A shuffled epoch in batches; the last one may be smaller. Every row comes once."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def accumulation(batch_size: int, workers: int, micro_batch: int | None) -> int:
    """Forward passes per worker and step, so that none has more than `micro_batch` rows."""
    share = -(-batch_size // workers)
    return -(-share // (micro_batch or share))


def micro_batches(batch: np.ndarray, workers: int, worker: int, passes: int) -> list[MicroBatch]:
    """One worker's micro-batches of a batch: the same number on every worker, whatever the batch's size."""
    chunks = np.array_split(batch, workers * passes)[worker * passes : (worker + 1) * passes]
    result = []
    for chunk in chunks:
        weight = len(chunk) / len(batch) * workers * passes
        # A batch smaller than the number of chunks leaves some empty; they pass one row with weight zero, since
        # every worker must take part in every collective operation.
        result.append(MicroBatch([int(row) for row in (chunk if len(chunk) else batch[:1])], weight))
    return result


def evaluation_rows(rows: int, workers: int, worker: int) -> list[int]:
    """One worker's share of an evaluation: every `workers`-th row, repeated at the end to an equal number."""
    share = list(range(worker, rows, workers))
    wanted = -(-rows // workers)
    return share + [rows - 1] * (wanted - len(share))
