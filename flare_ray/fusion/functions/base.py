"""What a fusion function is: a small module that turns the two bottlenecks S and T into h = φ(S, T)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn, where


class Fusion(nn.Module):
    """Base of all fusion functions.

    A trained weight must be a direct parameter of the class (no nested `nn.Linear`): PEFT strips the adapter's
    name from a checkpoint key only there, so that the adapter can be loaded under another name.

    Args:
        rank: r, the width of the bottleneck.
        bias: whether trained matrices have biases; functions without matrices ignore it.
    """

    needs_context: bool = False
    """Whether a token's h depends on other target tokens, which decoding with a cache must then remember."""

    def __init__(self, rank: int, *, bias: bool = False) -> None:
        super().__init__()
        self.rank = rank

    def reset_parameters(self) -> None:
        """Draw the trained matrices again; nothing to do for functions without any."""

    def forward(
        self, source: Tensor, target: Tensor, present: Tensor, context: Tensor, visible: Callable[[], Tensor]
    ) -> Tensor:
        """h for every target token.

        Args:
            source: S aligned to the target's tokens, [rows, n, r]; arbitrary where there is no source token.
            target: T, [rows, n, r].
            present: whether a target token has a source token, bool [rows, n, 1].
            context: T of all target tokens so far, [rows, p + n, r]; `target` itself unless decoding continues
                from p cached tokens.
            visible: gives the mask of target tokens each token may look at, bool [rows, n, p + n]; made only
                when asked for.

        Returns:
            h, [rows, n, r].
        """
        raise NotImplementedError

    def alone(self, target: Tensor) -> Tensor:
        """h where no target token has a source token: T [rows, n, r] → h [rows, n, r]."""
        raise NotImplementedError


class Elementwise(Fusion):
    """φ applied to each of the r features by itself: a subclass gives `combine` and `absent`."""

    absent: float
    """The value of S where the source has no token: what leaves T as it would be without the source."""

    def combine(self, source: Tensor, target: Tensor) -> Tensor:
        """φ(S, T), both [rows, n, r]."""
        raise NotImplementedError

    def forward(
        self, source: Tensor, target: Tensor, present: Tensor, context: Tensor, visible: Callable[[], Tensor]
    ) -> Tensor:
        """See `Fusion.forward`."""
        return self.combine(where(present, source, self.absent), target)

    def alone(self, target: Tensor) -> Tensor:
        """See `Fusion.alone`."""
        return self.combine(target.new_full((1, 1, 1), self.absent), target)
