"""Source states, computed once and shared.

The hidden states of the English text depend only on the base model and that text (paper, section 3.3): not on
fusion, rank, learning rate, epoch, target language or adapter seed. So they are computed once per split and every
FLARE run, in every epoch, reads them: from memory within a pack, or from this machine's disk, where later packs find
them too. FLARE MT's states of the target text are held in memory likewise.

They are computed in an order that depends on the split alone. So memory and disk give the same bits, whoever computed
them; a split that is read as text instead (`off`, or too large) passes in the batches of training and test, which is
the same but for rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch

from flare_ray.plan.fingerprint import fingerprint
from flare_ray.training.source_disk import OnDisk, SourceDisk, States, size_of

_PER_PASS = 32
Compute = Callable[[list[int]], list[States]]
Mode = Literal["auto", "off", "memory", "disk"]


@dataclass(frozen=True)
class SourceStates:
    """States of sequences' real tokens. of: which sequence is which of `pieces`."""

    pieces: Sequence[States]
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
    """Source states of several splits: in memory and on disk, each within a budget, least recently used out first.

    mode: `auto` holds a split in memory when it fits that budget, else on disk when it fits that one. What fits
    neither, or not the one that is wanted, is never kept: whether a split is depends on that split alone, so the same
    run takes the same way in any pack.
    """

    def __init__(self, max_bytes: float, mode: Mode = "auto", disk: SourceDisk | None = None):
        self.max_bytes, self.mode, self.disk = max_bytes, mode, disk
        self._kept: OrderedDict[tuple, SourceStates] = OrderedDict()
        self._opened: dict[tuple, SourceStates] = {}
        self.computed = 0

    def get(
        self,
        key: tuple,
        sequences: Sequence[int],
        lengths: np.ndarray,
        compute: Compute,
        about: Callable[[], Mapping[str, Any]] | None = None,
    ) -> SourceStates | None:
        """The states of these sequences, kept ones or by `compute`; None when they are not to be kept.

        lengths: of the sequences, in tokens or whatever their states' size goes by. about: all that determines the
        states' bits, for what may lie on disk.
        """
        if self.mode == "off":
            return None
        if (found := self._known(key)) is not None:
            return found
        order = np.argsort(-lengths, kind="stable").tolist()
        of = {sequences[place]: piece for piece, place in enumerate(order)}
        passes: Iterator[list[States]] = self._passes([sequences[place] for place in order], compute)
        if self.mode != "disk":
            first = next(passes, [])
            passes = chain([first], passes)
            if _estimate(first, lengths[order]) <= self.max_bytes:
                self.computed += 1
                return self._keep(key, SourceStates(list(chain.from_iterable(passes)), of))
        if self.mode == "memory" or self.disk is None or about is None:
            return None
        pieces = self._on_disk(self.disk, about(), passes, lengths[order])
        if pieces is not None:
            self._opened[key] = SourceStates(pieces, of)
        return self._opened.get(key)

    def _known(self, key: tuple) -> SourceStates | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        opened = self._opened.pop(key, None)  # what others removed is let go of, for its room
        if opened is not None:
            assert self.disk is not None
            assert isinstance(opened.pieces, OnDisk)
            if self.disk.touch(opened.pieces.folder):
                self._opened[key] = opened
                return opened
        return None

    def _passes(self, sequences: Sequence[int], compute: Compute) -> Iterator[list[States]]:
        """The states, in an order that depends on the sequences alone: longest first, so that little is padded."""
        for start in range(0, len(sequences), _PER_PASS):
            yield compute(list(sequences[start : start + _PER_PASS]))

    def _keep(self, key: tuple, states: SourceStates) -> SourceStates:
        self._kept[key] = states
        while sum(map(_size, self._kept.values())) > self.max_bytes:
            self._kept.popitem(last=False)
        return states

    def _on_disk(
        self, disk: SourceDisk, about: Mapping[str, Any], passes: Iterator[list[States]], lengths: np.ndarray
    ) -> OnDisk | None:
        """From the machine's disk, where another process may have put them."""
        name = fingerprint(dict(about))
        with disk.alone(name):
            found = disk.open(name)
            if found is None:
                first = next(passes, [])
                found = disk.write(name, about, _estimate(first, lengths), chain([first], passes))
                self.computed += found is not None
        return found


def _estimate(first: Sequence[States], lengths: np.ndarray) -> int:
    """Bytes of all states, from those of the first pass."""
    each = sum(map(size_of, first)) / max(1, lengths[: len(first)].sum())
    return int(each * lengths.sum())


def _size(states: SourceStates) -> int:
    return sum(map(size_of, states.pieces))
