"""φ(S, T) = S + T (paper, section 3.2)."""

from __future__ import annotations

from torch import Tensor

from flare_ray.fusion.functions.base import Elementwise


class Add(Elementwise):
    """The sum; S = 0 where the source has no token, which leaves plain LoRA."""

    absent = 0.0

    def combine(self, source: Tensor, target: Tensor) -> Tensor:
        """S + T."""
        return source + target


FUSION = Add
