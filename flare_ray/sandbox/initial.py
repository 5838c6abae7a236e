"""Where pretraining starts: word vectors from co-occurrence, positions from sinusoids, attention that matches.

A tiny model that starts from noise spends most of a short pretraining on finding out which words go together
at all. Counting tells that in a second: the leading eigenvectors of the words' pointwise mutual information
within a line (Levy and Goldberg, 2014). Parallel lines count too, so translations start near each other, in
the measure in which there is parallel text.

Nor does it have the time to discover that a word may look for itself elsewhere, which answering questions,
inference and translation all need. So keys start equal to queries, as they end up in large models (mimetic
initialization, Trockman and Kolter, 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

WAVES = 100.0
_QUERIES = {"query": "key", "q": "k", "q_proj": "k_proj"}
"""Name of a query projection in any of the families → name of the key projection beside it."""


def cooccurrence(rows: Sequence[list[int]], vocabulary: int, special: int) -> torch.Tensor:
    """(vocabulary, vocabulary): in how many rows two pieces occur together; special tokens count nowhere."""
    counts = torch.zeros(vocabulary, vocabulary)
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        present = torch.zeros(len(part), vocabulary)
        where = torch.tensor([row for row, ids in enumerate(part) for _ in ids])
        present[where, torch.tensor([token for ids in part for token in ids])] = 1.0
        present[:, :special] = 0.0
        counts += present.T @ present
    return counts


def word_vectors(rows: Sequence[list[int]], vocabulary: int, width: int, special: int) -> torch.Tensor:
    """(vocabulary, width) vectors of unit mean square; those of special and unseen pieces are zero."""
    counts = cooccurrence(rows, vocabulary, special).double()
    seen = counts.diagonal() > 0
    share = counts.diagonal() / len(rows)
    expected = len(rows) * share[:, None] * share[None, :]
    information = torch.log((counts + 1.0) / (expected + 1.0))
    information[~seen] = 0.0
    information[:, ~seen] = 0.0
    information.fill_diagonal_(0.0)
    values, vectors = torch.linalg.eigh(information)
    leading = values.abs().argsort(descending=True, stable=True)[:width]
    scaled = vectors[:, leading] * values[leading].abs().sqrt()
    return (scaled / scaled.pow(2).mean().sqrt()).float()


def sinusoids(length: int, width: int) -> torch.Tensor:
    """(length, width) position vectors of Vaswani et al. (2017), of unit mean square.

    Their slowest wave is shorter here: what is alike in position then lies within some words, not a page.
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(WAVES) / width))
    angles = torch.arange(length)[:, None] * rates[None, :]
    return torch.stack((angles.sin(), angles.cos()), dim=-1).reshape(length, width) * math.sqrt(2.0)


@torch.no_grad()
def match_by_content(model: Any, gain: float) -> None:
    """Makes every attention of `model` look for what is alike: keys equal to queries.

    Args:
        gain: how sharply: standard deviation of the query weights times the square root of their input's width.
    """
    for module in model.modules():
        for query, key in _QUERIES.items():
            if hasattr(module, query) and hasattr(module, key):
                source, target = getattr(module, query), getattr(module, key)
                source.weight.normal_(0.0, gain / math.sqrt(source.weight.shape[1]))
                target.weight.copy_(source.weight)
