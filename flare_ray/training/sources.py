"""Source states, computed once and shared.

The hidden states of the English text depend only on the base model and that text (paper, section 3.3): not on
fusion, rank, learning rate, epoch, target language or adapter seed. So a pack computes them once per split and
every FLARE run in it, in every epoch, reads them from memory. FLARE MT's states of the target text likewise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

_PER_PASS = 32
States = tuple[torch.Tensor, ...]
"""Of one sequence, one tensor per fused stack: [m, fused layers, d], or a translation encoder's [m, d_M]."""
Compute = Callable[[list[int]], list[States]]


@dataclass(frozen=True)
class SourceStates:
    """States of sequences' real tokens. of: which sequence is which of `pieces`."""

    pieces: list[States]
    of: dict[int, int]

    def padded(self, sequences: Sequence[int]) -> tuple[States, torch.Tensor]:
        """States [b, fused layers, m, d] (or [b, m, d_M]) per stack, and source_attention_mask [b, m]."""
        return pad_states([self.pieces[self.of[index]] for index in sequences])


def pad_states(chosen: Sequence[States]) -> tuple[States, torch.Tensor]:
    """States of sequences of different lengths in one tensor per stack, and the mask of real tokens [b, m]."""
    lengths = torch.tensor([len(states[0]) for states in chosen])
    mask = (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).long()
    padded = []
    for stack in zip(*chosen, strict=True):
        whole = torch.nn.utils.rnn.pad_sequence(list(stack), batch_first=True)
        padded.append(whole.transpose(1, 2).contiguous() if whole.dim() == 4 else whole)
    return tuple(padded), mask


class SourceCache:
    """Source states of several splits within a memory budget, least recently used out first.

    A split that is larger than the whole budget is never kept: whether one is depends on that split alone, so the
    same run takes the same way in any pack.
    """

    def __init__(self, max_bytes: float):
        self.max_bytes = max_bytes
        self._kept: OrderedDict[tuple, SourceStates] = OrderedDict()
        self.computed = 0

    def get(
        self, key: tuple, sequences: Sequence[int], lengths: np.ndarray, compute: Compute
    ) -> SourceStates | None:
        """The states of these sequences, from memory or by `compute`; None when they are larger than the budget.

        lengths: of the sequences, in tokens or whatever their states' size goes by.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        states = self._compute(sequences, lengths, compute)
        if states is not None:
            self._kept[key] = states
            while sum(map(_size, self._kept.values())) > self.max_bytes:
                self._kept.popitem(last=False)
        return states

    def _compute(
        self, sequences: Sequence[int], lengths: np.ndarray, compute: Compute
    ) -> SourceStates | None:
        """In an order that depends on the sequences alone: the longest first, so that little is padded."""
        order = np.argsort(-lengths, kind="stable").tolist()
        pieces: list[States] = []
        for start in range(0, len(order), _PER_PASS):
            chosen = order[start : start + _PER_PASS]
            pieces += compute([sequences[place] for place in chosen])
            if not start:
                each = sum(map(_bytes, pieces)) / max(1, lengths[chosen].sum())
                if each * lengths.sum() > self.max_bytes:
                    return None
        self.computed += 1
        return SourceStates(pieces, {sequences[place]: piece for piece, place in enumerate(order)})


def _bytes(states: States) -> int:
    return sum(tensor.nbytes for tensor in states)


def _size(states: SourceStates) -> int:
    return sum(map(_bytes, states.pieces))
