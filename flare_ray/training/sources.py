"""Source states, computed once and shared.

The hidden states of the English text depend only on the base model and that text (paper, section 3.3): not on
fusion, rank, learning rate, epoch, target language or adapter seed. So a pack computes them once per split and
every FLARE run in it, in every epoch, reads them from memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from flare_ray.training.data import Encoded

_ROWS_PER_PASS = 32
EncodeSource = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class SourceStates:
    """States of one split's English rows, real tokens only.

    states: [all tokens, fused layers, d]; starts: the first token of each row, and the end.
    """

    states: torch.Tensor
    starts: tuple[int, ...]

    def padded(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """source_states [rows, fused layers, m, d] and source_attention_mask [rows, m], m the longest row."""
        pieces = [self.states[self.starts[row] : self.starts[row + 1]] for row in rows]
        states = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        lengths = torch.tensor([len(piece) for piece in pieces])
        mask = (torch.arange(states.shape[1])[None, :] < lengths[:, None]).long()
        return states.transpose(1, 2).contiguous(), mask


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
        self, key: tuple, rows: Encoded, pad: int, encode: EncodeSource, device: str
    ) -> SourceStates | None:
        """The states of `rows`, from memory or by a pass; None when they are larger than the budget."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        states = self._compute(rows, pad, encode, device)
        if states is not None:
            self._kept[key] = states
            while sum(map(_size, self._kept.values())) > self.max_bytes:
                self._kept.popitem(last=False)
        return states

    def _compute(self, rows: Encoded, pad: int, encode: EncodeSource, device: str) -> SourceStates | None:
        pieces: list[torch.Tensor] = []
        for start in range(0, len(rows), _ROWS_PER_PASS):
            chosen = range(start, min(start + _ROWS_PER_PASS, len(rows)))
            input_ids, mask = rows.padded(chosen, pad)
            states = encode(input_ids.to(device), mask.to(device)).cpu().transpose(1, 2)  # [b, m, layers, d]
            if not pieces and states[0, 0].nbytes * int(rows.starts[-1]) > self.max_bytes:
                return None
            pieces += [row[keep] for row, keep in zip(states, mask.bool(), strict=True)]
        self.computed += 1
        starts = tuple(int(start) for start in rows.starts)
        return SourceStates(torch.cat(pieces) if pieces else torch.empty(0), starts)


def _size(states: SourceStates) -> int:
    return states.states.nbytes
