"""What a caller says about the source beside the model's own arguments, and what the call's target looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from flare_ray.fusion.config import FlareConfig

IGNORED_LABEL = -100


@dataclass
class SourceCall:
    """The arguments FLARE adds to a model's forward and generate.

    source_input_ids: source texts, long [b, m]; padding on either side.
    source_attention_mask: real tokens of source_input_ids or source_states, [b, m]; all when not given.
    source_token_type_ids: for models that have them, [b, m].
    source_states: instead of source_input_ids, states from `encode_source`, [b, fused blocks, m, d] (encoder-
        decoder: one such tensor for each stack), or FLARE MT's, [b, m, d_M].
    source_prompt_mask: columns of the source that are its prompt, [b, m]; the others are its answer, which fuses
        with the target's answer under after_prompt="source_generation" and with nothing else.
    source_decoder_input_ids, source_decoder_attention_mask: the decoder's side of the source, [b, k], in an
        encoder-decoder that generates; its start token alone when not given.
    prompt_mask: columns of the target that are its prompt, [b, n], in a decoder-only model. When not given, the
        prompt is what stands before the first label other than -100, and everything where there is none.
    without_source: True for a call that is meant to have no source ("train-only", Appendix E).
    """

    source_input_ids: Tensor | None = None
    source_attention_mask: Tensor | None = None
    source_token_type_ids: Tensor | None = None
    source_states: Any = None
    source_prompt_mask: Tensor | None = None
    source_decoder_input_ids: Tensor | None = None
    source_decoder_attention_mask: Tensor | None = None
    prompt_mask: Tensor | None = None
    without_source: bool = False

    @classmethod
    def split(cls, kwargs: Mapping[str, Any]) -> tuple[SourceCall, dict[str, Any]]:
        """FLARE's arguments, and the model's own."""
        ours = {name.name for name in fields(cls)}
        call = cls(**{name: value for name, value in kwargs.items() if name in ours})
        return call, {name: value for name, value in kwargs.items() if name not in ours}

    def check(self, config: FlareConfig) -> None:
        """Raise ValueError for a call without its source, or with two."""
        given = [name for name in ("source_input_ids", "source_states") if getattr(self, name) is not None]
        if self.without_source:
            if given:
                raise ValueError(f"without_source=True, but {given[0]} is given: leave one out")
            return
        if config.source == "mt_encoder":
            if given != ["source_states"]:
                raise ValueError(
                    "FLARE MT (source='mt_encoder') wants source_states [batch, tokens, source_width] from the "
                    "translation model's encoder, and source_attention_mask; or without_source=True"
                )
        elif len(given) != 1:
            found = "both" if given else "neither"
            raise ValueError(
                f"a FLARE model wants source_input_ids or source_states (from encode_source), and got {found}; "
                "pass without_source=True where the target is meant to go alone"
            )


def named_inputs(
    model: nn.Module, names: list[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name; `names` are the parameters of the model's forward, in order."""
    return {**dict(zip(names, args, strict=False)), **kwargs}


def length_of(inputs: Mapping[str, Any], prefix: str = "") -> tuple[int, int, torch.device] | None:
    """Rows, tokens and device of `input_ids` or `inputs_embeds`; None when neither is given."""
    ids = inputs.get(f"{prefix}input_ids")
    if ids is None:
        ids = inputs.get(f"{prefix}inputs_embeds")
    elif ids.dim() != 2:
        raise ValueError(f"{prefix}input_ids has shape {tuple(ids.shape)}; fusion wants [batch, tokens]")
    return None if ids is None else (ids.shape[0], ids.shape[1], ids.device)


def cached_tokens(inputs: Mapping[str, Any]) -> int:
    """How many tokens the given KV cache holds."""
    cache = inputs.get("past_key_values")
    return 0 if cache is None else int(cache.get_seq_length())


def real_tokens(mask: Tensor | None, shape: tuple[int, int], device: torch.device, name: str) -> Tensor:
    """A mask as bool of the wanted shape; all True when not given. Raises ValueError for another shape."""
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)}; fusion counts real tokens and wants {tuple(shape)}"
        )
    return mask.to(device=device).bool()


def prompt_before_labels(labels: Tensor, mask: Tensor) -> Tensor:
    """Columns up to the first label, bool [b, n]: the prompt of a causal model in training.

    A row whose first real token already has a label delimits no prompt: all of it counts as prompt.
    """
    labelled = (labels != IGNORED_LABEL) & mask
    begun = labelled.long().cumsum(1) > 0
    whole = (labelled & (mask.long().cumsum(1) == 1)).any(1, keepdim=True)
    return ~begun | whole


def reads_its_own_text(model: nn.Module) -> bool:
    """Whether an encoder-decoder's decoder runs over the input text (classification, span extraction)."""
    return not model.can_generate()  # type: ignore[operator]


def decoder_text(model: nn.Module, input_ids: Tensor, mask: Tensor) -> Tensor:
    """Decoder input of such a model: the text one to the right behind the start token, [b, n].

    Hugging Face shifts whole rows, which on left-padded ones puts the start token before the padding; here it
    stands where the text begins, and with the text's mask as the decoder's, padding changes nothing.
    """
    start = torch.full_like(input_ids[:, :1], model.config.decoder_start_token_id)  # type: ignore[union-attr,arg-type]
    shifted = torch.cat([start, input_ids[:, :-1]], 1)
    first = mask & (mask.long().cumsum(1) == 1)
    return torch.where(first, start, shifted)
