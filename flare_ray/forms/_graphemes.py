"""Character offsets of tokens that end with a whole grapheme.

A tokenizer that composes letters (NFC, NFKC) or drops accents gives a token the base character's offsets alone. Of a
text in decomposed form (NFD) the marks behind it then belong to no token, and a span would lose its last accent or
vowel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flare_ray.tasks._marks import continues_grapheme


def with_marks(context: str, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return offsets whose ends are moved behind the marks that no token covers.

    Args:
        context: what the offsets count the characters of.
        windows: int [tokens, 2] for each window of the context; -1 outside of it.
    """
    if context.isascii():
        return list(windows)
    edges = np.zeros(len(context) + 1, np.int64)
    for offsets in windows:
        inner = offsets[offsets[:, 0] >= 0]
        np.add.at(edges, inner[:, 0], 1)
        np.add.at(edges, inner[:, 1], -1)
    covered = np.cumsum(edges) > 0
    return [_with_marks(context, offsets, covered) for offsets in windows]


def _with_marks(context: str, offsets: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """covered: whether a character belongs to some token of some window, bool [characters + 1]."""
    ends = offsets[:, 1]
    inner = np.flatnonzero((offsets[:, 0] >= 0) & (ends > offsets[:, 0]) & (ends < len(context)))
    moved = offsets
    for token in inner[~covered[ends[inner]]].tolist():
        end = int(ends[token])
        while end < len(context) and not covered[end] and continues_grapheme(context[end]):
            end += 1
        if end > ends[token]:
            moved = offsets.copy() if moved is offsets else moved
            moved[token, 1] = end
    return moved
