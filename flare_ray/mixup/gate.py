"""λ, the share of the source in the mixture: from how spread the attention between the two texts is.

H is measured on the attention the mixing block itself pays, of the target's tokens to the source's and, by the
same scores read the other way, of the source's tokens to the target's (Yang et al., section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -1e30
"""Score of a token that is not there: its probability is exactly 0, and its logarithm still finite."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the columns in a mask: [b, n] or [b, n, d], bool [b, n] → [b] or [b, d]."""
    weights = mask.to(values.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bn,bn...->b...", weights, values)


def attention_entropy(scores: Tensor, readers: Tensor, read: Tensor) -> Tensor:
    """Mean entropy, in nats, of attention over `read`, over heads and the real tokens among `readers`.

    Args:
        scores: [b, heads, n, m], before any mask.
        readers: bool [b, n], rows that count.
        read: bool [b, m], columns that can be attended to.

    Returns:
        float32 [b], from 0 to the logarithm of the number of columns.
    """
    scores = scores.float().masked_fill(~read[:, None, None, :], MASKED)
    logarithm = scores.log_softmax(-1)
    entropy = -(logarithm.exp() * logarithm).sum(-1)
    return masked_mean(entropy.mean(1), readers)


def mutual_entropy(scores: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """H: entropy of the target's attention to the source plus that of the source's to the target, float32 [b].

    Args:
        scores: of target tokens (rows) for source tokens (columns), [b, heads, n, m]. Their transpose, normalised
            over the target, is the source's attention to the target.
        target, source: the tokens that count, bool [b, n] and [b, m].
    """
    there = attention_entropy(scores, target, source)
    return there + attention_entropy(scores.transpose(2, 3), source, target)


class MixupGate(nn.Module):
    """λ = limit · σ(w · H + b), the only new parameters; w starts at 1 and b at 0.

    limit: what λ stays below, 0.5 in the paper.
    """

    def __init__(self, limit: float = 0.5) -> None:
        super().__init__()
        self.limit = limit
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, entropy: Tensor) -> Tensor:
        """λ of each instance: entropies float32 [b] → float32 [b]."""
        return self.limit * torch.sigmoid(self.weight.float() * entropy + self.bias.float())
