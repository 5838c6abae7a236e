"""φ(S, T) = softmax((W^Q S)(W^K T)ᵀ / √r) W^V T, one head (paper, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_ray.fusion.functions.base import Fusion


class CrossAttention(Fusion):
    """Queries from the source, keys and values from the target; three trained r × r matrices.

    The row of source token i belongs to target token i. Where the source has no token, h = T. Keys on padding
    are masked, and in a causal model so are keys to the right: else the answer would leak into the prompt.
    """

    needs_context = True
    query: Tensor
    key: Tensor
    value: Tensor
    query_bias: Tensor | None
    key_bias: Tensor | None
    value_bias: Tensor | None

    def __init__(self, rank: int, *, bias: bool = False) -> None:
        super().__init__(rank, bias=bias)
        for name in ("query", "key", "value"):
            self.register_parameter(name, nn.Parameter(torch.empty(rank, rank)))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.empty(rank)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the matrices as `nn.Linear` does; biases start at zero."""
        for name in ("query", "key", "value"):
            nn.init.kaiming_uniform_(getattr(self, name), a=math.sqrt(5))
            if (bias := getattr(self, f"{name}_bias")) is not None:
                nn.init.zeros_(bias)

    def forward(
        self, source: Tensor, target: Tensor, present: Tensor, context: Tensor, visible: Callable[[], Tensor]
    ) -> Tensor:
        """See `Fusion.forward`."""
        query = functional.linear(source, self.query, self.query_bias)
        key = functional.linear(context, self.key, self.key_bias)
        value = functional.linear(context, self.value, self.value_bias)
        attended = functional.scaled_dot_product_attention(
            query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), attn_mask=visible().unsqueeze(1)
        )
        return torch.where(present, attended.squeeze(1).to(target.dtype), target)

    def alone(self, target: Tensor) -> Tensor:
        """See `Fusion.alone`."""
        return target


FUSION = CrossAttention
