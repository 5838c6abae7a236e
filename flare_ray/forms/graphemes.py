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
    starts = np.unique(np.concatenate([offsets[:, 0] for offsets in windows]))
    return [_with_marks(context, offsets, starts) for offsets in windows]


def _with_marks(context: str, offsets: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """starts: first characters of all tokens of all windows, sorted."""
    ends = offsets[:, 1]
    following = np.searchsorted(starts, ends)
    limits = np.append(starts, len(context))[following]
    open_ended = np.flatnonzero((offsets[:, 0] >= 0) & (ends > offsets[:, 0]) & (ends < limits))
    moved = offsets
    for token in open_ended.tolist():
        end, limit = int(ends[token]), int(limits[token])
        while end < limit and continues_grapheme(context[end]):
            end += 1
        if end > ends[token]:
            moved = offsets.copy() if moved is offsets else moved
            moved[token, 1] = end
    return moved
