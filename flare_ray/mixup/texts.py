"""A text as the model gets it: where its real tokens are, which of them are its prompt, and its labels.

For heads over a whole text, real tokens are moved to the left end of their row first, and span positions with them:
BERT counts padding as positions, classification heads read column 0, and T5's bias counts columns. A causal model's
columns stay, and it is told each token's place in its text instead. So padding changes nothing, on either side.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flare_ray.fusion.align import columns_of_tokens, compact
from flare_ray.fusion.call import IGNORED_LABEL, decoder_text, real_tokens

SPANS = ("start_positions", "end_positions")
NAMES = ("input_ids", "attention_mask", "token_type_ids", "labels", *SPANS, "prompt_mask")
"""What says of a text, the target's or the source's, what it is."""


@dataclass
class Text:
    """One side of a call.

    inputs: the model's arguments, by name; of a causal model with its labels.
    mask: real tokens, bool [b, n]; prompt: those of them that belong to the prompt, all where there is no answer.
    labels: class numbers "labels" [b], or "start_positions" and "end_positions" [b] as columns of `inputs`; token
        labels "labels" [b, n].
    slots: the column in `inputs` of each of the caller's columns, long [b, n].
    given: the caller's mask, bool [b, n].
    """

    inputs: dict[str, Tensor]
    mask: Tensor
    prompt: Tensor
    labels: dict[str, Tensor]
    slots: Tensor
    given: Tensor

    @property
    def last_of_prompt(self) -> Tensor:
        """Column of the prompt's last token, long [b]."""
        return last_column(self.prompt)

    def as_given(self, values: Tensor) -> Tensor:
        """Values [b, n] by column of `inputs`, put back into the caller's columns; the lowest there is on padding."""
        return values.gather(1, self.slots).masked_fill(~self.given, torch.finfo(values.dtype).min)


def last_column(mask: Tensor) -> Tensor:
    """The last column in a mask: bool [b, n] → long [b]; 0 where there is none."""
    return (mask.long() * torch.arange(mask.shape[1], device=mask.device)).amax(1)


def read_text(base: Any, form: str, given: Mapping[str, Any], name: str) -> Text:
    """Get a text ready for the model.

    Args:
        base: the Hugging Face model.
        form: the configuration's.
        given: `NAMES`, input_ids [b, n] among them.
        name: what to call the text in errors.

    Raises:
        ValueError: for a text without input_ids, with arguments that are not known, or with an empty row.
    """
    if unknown := sorted(set(given) - set(NAMES)):
        raise ValueError(f"{name}: {', '.join(unknown)} is none of {', '.join(NAMES)}")
    values = {key: value for key, value in given.items() if value is not None}
    ids = values.pop("input_ids", None)
    if ids is None or ids.dim() != 2:
        raise ValueError(f"{name}: wanted input_ids [batch, tokens]")
    shape = (ids.shape[0], ids.shape[1])
    mask = real_tokens(values.pop("attention_mask", None), shape, ids.device, f"{name}: attention_mask")
    if not bool(mask.any(1).all()):
        raise ValueError(f"{name}: a row has no real token")
    prompt = values.pop("prompt_mask", None)
    if prompt is not None:
        prompt = real_tokens(prompt, shape, ids.device, f"{name}: prompt_mask") & mask
    if form == "generation":
        return _causal(base, ids, mask, prompt, values)
    return _whole(base, ids, mask, prompt, values)


def _whole(base: Any, ids: Tensor, mask: Tensor, prompt: Tensor | None, values: dict[str, Tensor]) -> Text:
    """A text for a classification or span head."""
    columns = columns_of_tokens(mask)
    slots = columns.argsort(1)
    given, ids, mask = mask, compact(ids, columns), compact(mask, columns)
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if "token_type_ids" in values:
        inputs["token_type_ids"] = compact(values.pop("token_type_ids"), columns)
    if base.config.is_encoder_decoder:
        inputs |= {"decoder_input_ids": decoder_text(base, ids, mask), "decoder_attention_mask": mask.long()}
    labels = {
        key: _moved(value, slots) if key in SPANS else value.reshape(-1) for key, value in values.items()
    }
    prompt = mask if prompt is None else compact(prompt, columns)
    return Text(inputs, mask, prompt, labels, slots, given)


def _moved(positions: Tensor, slots: Tensor) -> Tensor:
    """Span positions [b] as columns of the moved text; those out of range stay so, for they are ignored."""
    positions, width = positions.reshape(-1), slots.shape[1]
    inside = (positions >= 0) & (positions < width)
    moved = slots.gather(1, positions.clamp(0, width - 1)[:, None])[:, 0]
    return torch.where(inside, moved, torch.full_like(moved, IGNORED_LABEL))


def _causal(base: Any, ids: Tensor, mask: Tensor, prompt: Tensor | None, values: dict[str, Tensor]) -> Text:
    """A prompt, perhaps with its answer, for a model that generates."""
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if "position_ids" in inspect.signature(base.forward).parameters:
        inputs["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
    labels = {key: value for key, value in values.items() if key == "labels"}
    if prompt is None:
        prompt = _before_answer(labels["labels"], mask) if labels else mask
    slots = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return Text(inputs | labels, mask, prompt, labels, slots, mask)


def _before_answer(labels: Tensor, mask: Tensor) -> Tensor:
    """Real tokens up to the first label, bool [b, n]; at least the first token, which no model has to predict."""
    begun = ((labels != IGNORED_LABEL) & mask).long().cumsum(1) > 0
    first = mask & (mask.long().cumsum(1) == 1)
    return (mask & ~begun) | first
