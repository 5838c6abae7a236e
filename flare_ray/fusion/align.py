"""Which source token each target token fuses with, counting real tokens only.

A sentence's real tokens are numbered from its first one, whatever side the padding is on: the prompt's tokens
0, 1, …, and after them, from 0 again, those that follow the prompt (a decoder's answer). Target token i of the
prompt fuses with source token i of the prompt, and target token t after the prompt with source token t after
the prompt, if there is one (paper, section 3; generation as in its appendix).
"""

from __future__ import annotations

import torch
from torch import Tensor


def columns_of_tokens(mask: Tensor) -> Tensor:
    """Columns of the real tokens in order, then those of the padding: bool [b, m] → long [b, m]."""
    return torch.argsort(mask.logical_not().to(torch.uint8), dim=1, stable=True)


def compact(values: Tensor, columns: Tensor) -> Tensor:
    """Move each row's real tokens to the left end: [b, m] or [b, m, …] by `columns_of_tokens`."""
    index = columns.reshape(*columns.shape, *([1] * (values.dim() - 2))).expand(values.shape)
    return values.gather(1, index)


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """The inverse of `compact` in dimension 2, zero on padding: [b, k, m, d] and bool [b, m] → [b, k, m, d]."""
    slots = (mask.long().cumsum(1) - 1).clamp(min=0)
    index = slots[:, None, :, None].expand(values.shape)
    return values.gather(2, index) * mask[:, None, :, None].to(values.dtype)


def source_slots(
    mask: Tensor, prompt: Tensor, prompt_tokens: Tensor, all_tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """For each target token, the number of its source token, and whether there is one.

    Args:
        mask: the target's real tokens, bool [rows, n].
        prompt: which target columns belong to the prompt, bool [rows, n].
        prompt_tokens: how many real tokens each source prompt has, long [rows].
        all_tokens: how many real tokens each source has with what follows its prompt, long [rows].

    Returns:
        number of the source token among the source's real tokens, long [rows, n], 0 where there is none; and
        whether there is one, bool [rows, n].
    """
    before, after = mask & prompt, mask & ~prompt
    in_prompt = before.long().cumsum(1) - 1
    behind = after.long().cumsum(1) - 1 + prompt_tokens[:, None]
    slots = torch.where(before, in_prompt, behind)
    limit = torch.where(before, prompt_tokens[:, None], all_tokens[:, None])
    present = mask & (slots < limit)
    return slots.masked_fill(~present, 0), present


def visible_tokens(keys: Tensor, queries: int, causal: bool) -> Tensor:
    """Which target tokens each of the last `queries` tokens may look at.

    Args:
        keys: real tokens, bool [rows, n].
        queries: q ≤ n.
        causal: whether tokens to the right stay unseen.

    Returns:
        bool [rows, q, n]. Every token sees at least itself, so that no softmax runs over nothing.
    """
    total = keys.shape[1]
    column = torch.arange(total, device=keys.device)
    row = column[total - queries :, None]
    seen = keys[:, None, :] & (column <= row) if causal else keys[:, None, :].expand(-1, queries, -1)
    return seen | (column == row)
