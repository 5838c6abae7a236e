"""φ(S, T) = ReLU(S) ∘ ReLU(T) (paper, section 3.2)."""

from __future__ import annotations

from torch import Tensor, relu

from flare_ray.fusion.functions.base import Elementwise


class MulRelu(Elementwise):
    """The product of the positive parts; S = 1 where the source has no token."""

    absent = 1.0

    def combine(self, source: Tensor, target: Tensor) -> Tensor:
        """ReLU(S) ∘ ReLU(T)."""
        return relu(source) * relu(target)


FUSION = MulRelu
