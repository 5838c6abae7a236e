"""The cross-attention of a block's own projections: target tokens ask, source tokens answer.

One class for each way Hugging Face models name and use their projections; a model with the same names needs no
new code. The projections are called as modules, so adapters, 4-bit and 8-bit weights work as they do elsewhere.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

_COMMON = {
    "hidden_states",
    "past_key_values",
    "past_key_value",
    "output_attentions",
    "cache_position",
    "kwargs",
}

Positions = tuple[Tensor, Tensor] | None
"""Cosines and sines of rotary positions, [b, n, e] each; None in models without them."""


class CrossAttention(ABC):
    """An attention module of a block, used on two texts.

    module: the block's attention.
    first: the attention of the stack's first block, which holds T5's position bias.
    """

    names: ClassVar[tuple[str, ...]]
    """Names of the sub-modules by which this kind is known."""
    takes: ClassVar[frozenset[str]]
    """Arguments that the forward of this kind may take: others would say something that is not known here."""

    def __init__(self, module: Any, first: Any) -> None:
        self.module = module
        self.first = first

    @property
    @abstractmethod
    def dropout(self) -> float:
        """Dropout on attention probabilities while training."""

    @abstractmethod
    def keys_and_values(self, states: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Keys and values of the source, [b, m, d] → [b, heads, m, e] twice."""

    @abstractmethod
    def scores(self, states: Tensor, keys: Tensor, positions: Positions) -> Tensor:
        """Scores before any mask: target states [b, n, d], keys [b, heads, m, e] → [b, heads, n, m]."""

    def output(self, context: Tensor) -> Tensor:
        """From [b, n, heads · e] to what the module returns: its output projection, where it is the module's."""
        return context

    def attend(self, scores: Tensor, values: Tensor, source: Tensor) -> Tensor:
        """The cross-attention's output, [b, n, …] as the module returns.

        Args:
            scores: [b, heads, n, m], before any mask.
            values: [b, heads, m, e].
            source: tokens that may be seen, bool [b, m]; at least one in each row.
        """
        seen = scores.float().masked_fill(~source[:, None, None, :], torch.finfo(torch.float32).min)
        weights = seen.softmax(-1).to(values.dtype)
        weights = nn.functional.dropout(weights, self.dropout, self.module.training)
        context = (weights @ values).transpose(1, 2)
        return self.output(context.reshape(*context.shape[:2], -1))


def _heads(projected: Tensor, size: int) -> Tensor:
    """[b, n, heads · e] → [b, heads, n, e]."""
    return projected.view(*projected.shape[:2], -1, size).transpose(1, 2)


class BertKind(CrossAttention):
    """BERT, XLM-R and their like. The output projection follows outside the module, on the mixture: it is linear,
    and λ and 1 − λ add up to 1, so that it may as well.
    """

    names = ("query", "key", "value")
    takes = frozenset(
        _COMMON | {"attention_mask", "head_mask", "encoder_hidden_states", "encoder_attention_mask"}
    )

    @property
    def dropout(self) -> float:
        """As in the base class."""
        dropout = self.module.dropout
        return float(getattr(dropout, "p", dropout))

    def keys_and_values(self, states: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """As in the base class."""
        size = self.module.attention_head_size
        return _heads(self.module.key(states), size), _heads(self.module.value(states), size)

    def scores(self, states: Tensor, keys: Tensor, positions: Positions) -> Tensor:
        """As in the base class."""
        size = self.module.attention_head_size
        return _heads(self.module.query(states), size) @ keys.transpose(2, 3) * size**-0.5


class T5Kind(CrossAttention):
    """T5 and mT5: scores are not scaled, and get the stack's bias for how far source token j is from target token i,
    as if both texts began at the same place.
    """

    names = ("q", "k", "v", "o")
    takes = frozenset(_COMMON | {"mask", "key_value_states", "position_bias", "layer_head_mask", "use_cache"})

    @property
    def dropout(self) -> float:
        """As in the base class."""
        return float(self.module.dropout)

    def keys_and_values(self, states: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """As in the base class."""
        size = self.module.key_value_proj_dim
        return _heads(self.module.k(states), size), _heads(self.module.v(states), size)

    def scores(self, states: Tensor, keys: Tensor, positions: Positions) -> Tensor:
        """As in the base class."""
        query = _heads(self.module.q(states), self.module.key_value_proj_dim)
        bias = self.first.compute_bias(query.shape[2], keys.shape[2], device=states.device)
        return query @ keys.transpose(2, 3) + bias

    def output(self, context: Tensor) -> Tensor:
        """As in the base class."""
        return self.module.o(context)


class LlamaKind(CrossAttention):
    """Llama, Gemma, Qwen, Mistral: rotary positions, each token by its place in its own text; grouped queries; norms
    on queries and keys and soft-capped scores where the model has them. A sliding window does not bound the view of
    the source: it says how far back a token looks in its own text.
    """

    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    takes = frozenset(_COMMON | {"attention_mask", "position_embeddings", "position_ids", "use_cache"})

    @property
    def dropout(self) -> float:
        """As in the base class."""
        return float(self.module.attention_dropout)

    def keys_and_values(self, states: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """As in the base class; each head of keys and values is repeated for the queries that share it."""
        keys = self._rotated(self.module.k_proj(states), "k_norm", positions)
        values = _heads(self.module.v_proj(states), self.module.head_dim)
        groups = self.module.num_key_value_groups
        return keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)

    def scores(self, states: Tensor, keys: Tensor, positions: Positions) -> Tensor:
        """As in the base class."""
        query = self._rotated(self.module.q_proj(states), "q_norm", positions)
        scores = query @ keys.transpose(2, 3) * self.module.scaling
        cap = getattr(self.module, "attn_logit_softcapping", None)
        return scores if cap is None else torch.tanh(scores / cap) * cap

    def output(self, context: Tensor) -> Tensor:
        """As in the base class."""
        return self.module.o_proj(context)

    def _rotated(self, projected: Tensor, norm: str, positions: Positions) -> Tensor:
        if positions is None:
            raise ValueError(f"{type(self.module).__name__} was called without position_embeddings")
        heads = _heads(projected, self.module.head_dim)
        if hasattr(self.module, norm):
            heads = getattr(self.module, norm)(heads)
        return _rotation_of(self.module)(heads, heads, *positions)[0]


KINDS: tuple[type[CrossAttention], ...] = (BertKind, T5Kind, LlamaKind)


def kind_of(module: nn.Module) -> type[CrossAttention] | None:
    """The kind of attention a module is, by the names of its sub-modules; None when it is none that is known."""
    children = {name for name, _ in module.named_children()}
    return next((kind for kind in KINDS if children.issuperset(kind.names)), None)


def check_supported(module: Any, kind: type[CrossAttention]) -> None:
    """Raise ValueError for an attention that has a known kind's names and is known to work in another way.

    `placement.check_agreement` finds by a run what cannot be seen here.
    """
    strange = [
        f"takes {name}" for name in inspect.signature(module.forward).parameters if name not in kind.takes
    ]
    if getattr(module, "sinks", None) is not None:
        strange.append("sinks")
    if kind is LlamaKind:
        if _rotation_of(module) is None:
            strange.append("no apply_rotary_pos_emb in its file")
        for name in ("q_norm", "k_norm"):
            weight = getattr(getattr(module, name, None), "weight", None)
            if weight is not None and weight.numel() != module.head_dim:
                strange.append(f"{name} over all heads")
    if strange:
        raise ValueError(unknown_attention(module, ", ".join(strange)))


def unknown_attention(module: nn.Module, why: str) -> str:
    """What to say of an attention that works in a way of its own."""
    return (
        f"X-Mixup does not know the attention of {type(module).__name__} ({why}): write a kind for it in "
        "flare_ray/mixup/attention.py"
    )


def _rotation_of(module: nn.Module) -> Any:
    """The model's own rotation, which differs between models in which features form a pair."""
    return getattr(sys.modules[type(module).__module__], "apply_rotary_pos_emb", None)


def read_by(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Positions]:
    """The states [b, n, d] that an attention is called on, and their rotary positions, from its arguments."""
    given = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
    states = given["hidden_states"]
    return states, given.get("position_embeddings")
