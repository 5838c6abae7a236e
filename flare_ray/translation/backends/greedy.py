"""Greedy decoding of a batch that drops the rows that have ended.

`generate` of transformers carries every row along until the last one of the batch ends. Lengths of translations are
not known beforehand and differ widely in real text, so that most of such a batch's work is for rows that are done.
"""

from __future__ import annotations

from typing import Any

import torch

KEPT = 0.75
"""Rows are dropped when no more than this share of them continues: to drop some copies the others' cache."""


@torch.inference_mode()
def greedy(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    given: list[int],
    end: int,
    most: int,
    never: int | None = None,
) -> list[list[int]]:
    """The ids that `generate` gives each row, behind `given`, up to and with the end token if there was one.

    model: any encoder-decoder of transformers. input_ids, attention_mask: (rows, input tokens). given: the tokens
    that every row starts with, the decoder's start token first. most: of new tokens. never: an id that is not
    predicted.
    """
    states = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    rows = torch.arange(len(input_ids), device=input_ids.device)  # in the batch, of those that continue
    made = torch.full((len(rows), most), end, device=rows.device)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    fed = torch.tensor([given], device=rows.device).expand(len(rows), -1)
    cache = None
    for step in range(most):
        passed = model(
            encoder_outputs=(states,),
            attention_mask=attention_mask,
            decoder_input_ids=fed,
            past_key_values=cache,
            use_cache=True,
        )
        scores, cache = passed.logits[:, -1], passed.past_key_values
        if never is not None:
            scores[:, never] = -torch.inf
        last = scores.argmax(-1)
        made[rows, step] = last  # behind a row's end come any ids, until the row is dropped
        ended |= last == end
        going = len(rows) - int(ended.sum())
        if not going:
            break
        if going <= KEPT * len(rows):
            kept = (~ended).nonzero()[:, 0]
            rows, ended, last = rows[kept], ended[kept], last[kept]
            states, attention_mask = states[kept], attention_mask[kept]
            cache.batch_select_indices(kept)
        fed = last[:, None]
    return [until(ids, end) for ids in made.tolist()]


def until(ids: list[int], end: int) -> list[int]:
    """Ids up to and with the first end token.

    >>> until([5, 6, 2, 9, 2], end=2)
    [5, 6, 2]
    """
    return ids[: ids.index(end) + 1] if end in ids else ids
