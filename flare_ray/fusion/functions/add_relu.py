"""φ(S, T) = ReLU(S) + ReLU(T), the paper's default (section 3.2)."""

from __future__ import annotations

from torch import Tensor, relu

from flare_ray.fusion.functions.base import Elementwise


class AddRelu(Elementwise):
    """The sum of the positive parts; S = 0 where the source has no token."""

    absent = 0.0

    def combine(self, source: Tensor, target: Tensor) -> Tensor:
        """ReLU(S) + ReLU(T)."""
        return relu(source) + relu(target)


FUSION = AddRelu
