"""The two runs of the mixing block: over the source, what its attention reads is kept; over the target, it is mixed.

Both by hooks that are on the attention only while they are wanted, so the wrapped model alone is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from flare_ray.mixup.attention import CrossAttention, Positions, read_by
from flare_ray.mixup.gate import MixupGate, mutual_entropy


@dataclass
class SourceStates:
    """What the block's attention read of the source: states [b, m, d], and their rotary positions."""

    states: Tensor
    positions: Positions


@dataclass
class Mixture:
    """The target's side of one call, or of all steps of one generation.

    source: of the source text; visible: its tokens that may be attended to, bool [b, m].
    prompt: target tokens that λ is measured on, bool [b, n].
    ratio: λ, float32 [b], once it is known; a generation's later steps keep it.
    """

    attention: CrossAttention
    gate: MixupGate
    source: SourceStates
    visible: Tensor
    prompt: Tensor
    ratio: Tensor | None = None
    _projected: tuple[Tensor, Tensor] | None = None

    def mix(self, states: Tensor, positions: Positions, attended: Tensor) -> Tensor:
        """λ · cross-attention + (1 − λ) · self-attention.

        Args:
            states: what the attention reads of the target, [rows, n, d]; rows is a multiple of b where generation
                continues with several beams or samples of each prompt.
            positions: their rotary positions.
            attended: the self-attention's output, [rows, n, …].
        """
        if self._projected is None:
            self._projected = self.attention.keys_and_values(self.source.states, self.source.positions)
            self._repeat(states.shape[0] // self.visible.shape[0])
        keys, values = self._projected
        scores = self.attention.scores(states, keys, positions)
        if self.ratio is None:
            self.ratio = self.gate(mutual_entropy(scores, self.prompt, self.visible))
        crossed = self.attention.attend(scores, values, self.visible)
        ratio = self.ratio.to(attended.dtype)[:, None, None]
        return ratio * crossed + (1 - ratio) * attended

    def _repeat(self, times: int) -> None:
        """Stand beside each other what belongs to the beams or samples of one prompt."""
        if times > 1 and self._projected is not None:
            keys, values = self._projected
            self._projected = keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)
            self.visible = self.visible.repeat_interleave(times, 0)
            self.prompt = self.prompt.repeat_interleave(times, 0)


@contextmanager
def recorded(attention: CrossAttention) -> Iterator[list[SourceStates]]:
    """Keep what the attention reads meanwhile, with its graph: a list of one entry for each call."""
    found: list[SourceStates] = []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        found.append(SourceStates(*read_by(module, args, kwargs)))

    handle = attention.module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def mixed(mixture: Mixture) -> Iterator[None]:
    """Let the attention's output be the mixture meanwhile."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        attended, *rest = output
        return (mixture.mix(*read_by(module, args, kwargs), attended), *rest)

    handle = mixture.attention.module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
