"""Which sequences make up each optimiser step, and which worker sees which of them in which micro-batch.

The order depends on the lengths, the seed and the epoch only. A step's gradient is the mean over its whole batch,
however many workers and micro-batches it is spread over: each micro-batch's loss carries its share as a weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BATCHES_PER_POOL = 50
_POOLS = 8


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of one forward pass on one worker.

    weight: what the mean loss of this pass is multiplied by so that averaging over micro-batches and workers gives
    the mean over the whole batch.
    """

    rows: list[int]
    weight: float


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """A shuffled epoch in batches of sequences of similar length; every sequence comes once.

    Shuffled sequences are sorted by length within pools of some batches, so that little is padded; at least eight
    pools make an epoch, so that a small corpus is not simply sorted. The batches themselves are shuffled again.
    """
    draw = np.random.default_rng([seed, epoch])
    order = draw.permutation(len(lengths))
    count = -(-len(order) // batch_size)
    pool = batch_size * min(_BATCHES_PER_POOL, max(1, count // _POOLS))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    return [batches[k] for k in draw.permutation(len(batches))]


def accumulation(batch_size: int, workers: int, micro_batch: int | None) -> int:
    """Forward passes per worker and step, so that none has more than `micro_batch` rows."""
    share = -(-batch_size // workers)
    return -(-share // (micro_batch or share))


def micro_batches(
    batch: np.ndarray, items: np.ndarray, workers: int, worker: int, passes: int
) -> list[MicroBatch]:
    """One worker's micro-batches of a batch: the same number on every worker, whatever the batch's size.

    items: how many terms each sequence has in a mean loss, [all sequences].
    """
    chunks = np.array_split(batch, workers * passes)[worker * passes : (worker + 1) * passes]
    whole = items[batch].sum()
    result = []
    for chunk in chunks:
        weight = float(items[chunk].sum() / whole * workers * passes)
        # A batch smaller than the number of chunks leaves some empty; they pass one row with weight zero, since
        # every worker must take part in every collective operation.
        result.append(MicroBatch([int(row) for row in (chunk if len(chunk) else batch[:1])], weight))
    return result


def evaluation_rows(lengths: np.ndarray, workers: int, worker: int) -> list[int]:
    """One worker's share of an evaluation, the longest first: equal numbers, some repeated at the end for that."""
    order = np.argsort(-lengths, kind="stable")
    share = order[worker::workers].tolist()
    wanted = -(-len(order) // workers)
    return share + [int(order[-1])] * (wanted - len(share))
