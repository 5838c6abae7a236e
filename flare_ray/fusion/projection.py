"""FLARE MT: from the width of a translation model's encoder to the width of the adapted model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class SourceProjection(nn.Module):
    """v W^proj, one for all blocks and trained with the adapters (paper, section 3.1 and Appendix C).

    Weights are direct parameters, as in `Fusion`.

    Args:
        source_width: d_M, width of the translation model's states.
        width: d, width of the adapted model's hidden states.
        kind: "linear" (paper), without a bias; or "mlp" (the extension it names): linear, GELU, linear.
    """

    bias: Tensor | None
    out_weight: Tensor | None
    out_bias: Tensor | None

    def __init__(self, source_width: int, width: int, kind: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, source_width))
        mlp = kind == "mlp"
        self.register_parameter("bias", nn.Parameter(torch.empty(width)) if mlp else None)
        self.register_parameter("out_weight", nn.Parameter(torch.empty(width, width)) if mlp else None)
        self.register_parameter("out_bias", nn.Parameter(torch.empty(width)) if mlp else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as `nn.Linear` does; biases start at zero."""
        for weight, bias in ((self.weight, self.bias), (self.out_weight, self.out_bias)):
            if weight is not None:
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(self, states: Tensor) -> Tensor:
        """[b, m, d_M] → [b, m, d], in the projection's dtype."""
        hidden = functional.linear(states.to(self.weight.dtype), self.weight, self.bias)
        if self.out_weight is None:
            return hidden
        return functional.linear(functional.gelu(hidden), self.out_weight, self.out_bias)
