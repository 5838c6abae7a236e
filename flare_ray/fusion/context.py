"""What fused layers know during one forward pass: the source's states, and which token fuses with which.

One `Flow` is shared by all fused layers of a model. `FlareModel` sets its context when a forward pass starts and
takes it away when the pass ends; blocks replayed in backward (gradient checkpointing) get the context of their
own pass back. Nothing here outlives the autograd graph that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flare_ray.fusion.align import columns_of_tokens, source_slots, visible_tokens

if TYPE_CHECKING:
    from flare_ray.fusion.capture import Activations


class ProjectedStates(Mapping[int, Tensor]):
    """FLARE MT: one projection of the translation encoder's states feeds every block (paper, section 3.1).

    Projected once, when made: inside a checkpointed block it would belong to that block's graph. Re-entrant
    checkpointing cannot reach a graph outside the block, so its replays project again (`again`).
    """

    def __init__(self, projection: nn.Module, states: Tensor, dtype: torch.dtype) -> None:
        self.projection = projection
        self.states = states
        self.dtype = dtype
        self.projected = projection(states).to(dtype)

    def anew(self) -> ProjectedStates:
        """The same states with a graph of their own."""
        return ProjectedStates(self.projection, self.states, self.dtype)

    def __getitem__(self, layer: int) -> Tensor:
        return self.projected

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass
class Source:
    """The source in one stack.

    states: of each fused block, [b, m, d], in the model's dtype.
    mask: real tokens, bool [b, m].
    prompt: which columns belong to the prompt, bool [b, m]; None when all do.
    """

    states: Mapping[int, Tensor]
    mask: Tensor
    prompt: Tensor | None = None

    @cached_property
    def columns(self) -> Tensor:
        """Column of each real token, in order: long [b, m]."""
        return columns_of_tokens(self.mask)

    def counts(self, after_prompt: bool) -> tuple[Tensor, Tensor]:
        """Real tokens of each prompt, and with what follows the prompt where that fuses: long [b] each."""
        everything = self.mask.sum(1)
        if self.prompt is None:
            return everything, everything
        prompts = (self.mask & self.prompt).sum(1)
        return prompts, everything if after_prompt else prompts

    def without(self, dropped: Tensor) -> Source:
        """This source with the rows in `dropped`, bool [b], emptied of tokens."""
        return replace(self, mask=self.mask & ~dropped[:, None])


@dataclass
class Alignment:
    """Where the n target tokens now in the stack find their source tokens.

    columns: column of the source's states, long [rows, n]; None when no token has a source, known beforehand.
    present: whether there is a source token, bool [rows, n, 1].
    keys: real target tokens up to the last of the n, bool [rows, p + n], p of them from a cache.
    """

    keys: Tensor
    causal: bool
    tokens: int
    columns: Tensor | None = None
    present: Tensor | None = None

    @property
    def past(self) -> int:
        """p, how many columns come from a cache."""
        return self.keys.shape[1] - self.tokens

    @cached_property
    def seen(self) -> Tensor:
        """Mask of the tokens each token may look at, bool [rows, n, p + n]."""
        return visible_tokens(self.keys, self.tokens, self.causal)

    def take(self, values: Tensor) -> Tensor:
        """Values of source tokens [b, m, c] brought to the target's tokens, [rows, n, c].

        rows is a multiple of b where beams or samples repeat the rows of a batch.
        """
        assert self.columns is not None
        if (repeats := self.columns.shape[0] // values.shape[0]) > 1:
            values = values.repeat_interleave(repeats, 0)
        return values.gather(1, self.columns[..., None].expand(-1, -1, values.shape[-1]))


def align(
    source: Source | None,
    keys: Tensor,
    prompt: Tensor,
    tokens: int,
    *,
    causal: bool,
    after_prompt: bool,
    answering: bool = False,
) -> Alignment:
    """Align the last `tokens` columns of a target with a source; see `align.source_slots`.

    Args:
        source: None when the target goes without.
        keys: the target's real tokens, those in a cache included, bool [rows, p + n].
        prompt: the target's columns that belong to the prompt, bool [rows, p + n].
        tokens: n.
        causal: whether tokens attend only to their left.
        after_prompt: whether tokens after the prompt fuse with the source's.
        answering: whether all of the n tokens are known to stand after the prompt.
    """
    alignment = Alignment(keys, causal, tokens)
    if source is None or (answering and not after_prompt):
        return alignment
    repeats = keys.shape[0] // source.mask.shape[0]
    prompts, everything = (count.repeat_interleave(repeats, 0) for count in source.counts(after_prompt))
    slots, present = source_slots(keys, prompt, prompts, everything)
    columns = source.columns.repeat_interleave(repeats, 0).gather(1, slots[:, -tokens:])
    alignment.columns, alignment.present = columns, present[:, -tokens:, None]
    return alignment


@dataclass
class Context:
    """One forward pass: sources and alignments by the path of their stack."""

    sources: dict[str, Source] = field(default_factory=dict)
    alignments: dict[str, Alignment] = field(default_factory=dict)
    remembered: dict[tuple[str, str], Tensor] | None = None
    """T of the tokens in the KV cache, by layer and adapter; see `remember`."""

    def for_replay(self) -> Context:
        """The context of a re-entrant replay: projected states belong to the replayed graph."""
        sources = {
            path: replace(source, states=source.states.anew())
            if isinstance(source.states, ProjectedStates)
            else source
            for path, source in self.sources.items()
        }
        return replace(self, sources=sources)


class Flow:
    """The way by which a model's fused layers get the context of the pass they run in."""

    def __init__(self) -> None:
        self.context: Context | None = None
        self.source_pass = False
        self.capture: Activations | None = None

    @contextmanager
    def during(self, context: Context | None) -> Iterator[None]:
        """Set the context, and put the former one back."""
        former, self.context = self.context, context
        try:
            yield
        finally:
            self.context = former

    def current(self, stack: str) -> tuple[Context, Alignment]:
        """Context and alignment for a fused layer of a stack. Raises RuntimeError outside of a forward pass."""
        context = self.context
        if context is None or stack not in context.alignments:
            raise RuntimeError(
                "a fused layer ran without its source. Call the whole model, with source_input_ids (or "
                "source_states, or without_source=True); and replay blocks in backward only by Hugging Face's "
                "gradient_checkpointing_enable(), which hands them their source again"
            )
        return context, context.alignments[stack]
