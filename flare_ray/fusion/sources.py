"""From a call's arguments to the source of every fused stack: by a source pass, or from given states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flare_ray.fusion.align import columns_of_tokens, compact, spread
from flare_ray.fusion.call import SourceCall, decoder_text, reads_its_own_text, real_tokens
from flare_ray.fusion.context import ProjectedStates, Source
from flare_ray.fusion.placement import Stack
from flare_ray.fusion.source import run_source

if TYPE_CHECKING:
    from flare_ray.fusion.model import FlareModel


def sources_of(tuner: FlareModel, call: SourceCall) -> dict[str, Source]:
    """The source of each fused stack, by its path; empty for a call without source."""
    if call.without_source:
        return {}
    if tuner.active_config.source == "mt_encoder":
        return _projected(tuner, call)
    if call.source_states is not None:
        return _given(tuner, call)
    return _passed(tuner, call)


def encode(tuner: FlareModel, call: SourceCall) -> Tensor | tuple[Tensor, ...]:
    """See `FlareModel.encode_source`."""
    assert call.source_input_ids is not None
    mask = _mask(call, call.source_input_ids)
    encoded = []
    for path, source in _passed(tuner, call).items():
        states = torch.stack([source.states[layer] for layer in tuner.layers[path]], 1)
        text = not tuner.stacks[path].decoder or reads_its_own_text(tuner.model)
        encoded.append(spread(states, mask) if text else states)
    return encoded[0] if len(encoded) == 1 else tuple(encoded)


def _mask(call: SourceCall, like: Tensor) -> Tensor:
    """Real tokens of the source, bool [b, m]."""
    return real_tokens(
        call.source_attention_mask, (like.shape[0], like.shape[1]), like.device, "source_attention_mask"
    )


def _prompt(call: SourceCall, mask: Tensor) -> Tensor | None:
    if call.source_prompt_mask is None:
        return None
    return real_tokens(
        call.source_prompt_mask, (mask.shape[0], mask.shape[1]), mask.device, "source_prompt_mask"
    )


def _passed(tuner: FlareModel, call: SourceCall) -> dict[str, Source]:
    """By a pass of the frozen base over source_input_ids."""
    ids = call.source_input_ids
    assert ids is not None
    mask = _mask(call, ids)
    prompt = _prompt(call, mask)
    columns = columns_of_tokens(mask)
    ids, mask = compact(ids, columns), compact(mask, columns)
    prompt = None if prompt is None else compact(prompt, columns)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long()}
    if call.source_token_type_ids is not None:
        inputs["token_type_ids"] = compact(call.source_token_type_ids, columns)
    marks = {False: (mask, prompt)}
    if any(stack.decoder for stack in tuner.stacks.values()):
        decoder_ids, decoder_mask, decoder_prompt = _decoder_side(tuner, call, ids, mask)
        decoder_mask = decoder_mask & mask.any(
            1, keepdim=True
        )  # a row without source text has no source at all
        inputs |= {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask.long()}
        marks[True] = (decoder_mask, decoder_prompt)
    with tuner.in_source_pass():
        states = run_source(
            tuner.model, tuner.fused_stacks, tuner.layers, tuner.active_config.source_offset, inputs
        )
    return {stack.path: Source(states[stack.path], *marks[stack.decoder]) for stack in tuner.fused_stacks}


def _decoder_side(
    tuner: FlareModel, call: SourceCall, ids: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Decoder input of the source, its mask and its prompt: the text again, or a start token and what follows."""
    if reads_its_own_text(tuner.model):
        return decoder_text(tuner.model, ids, mask), mask, None
    decoder_ids = call.source_decoder_input_ids
    if decoder_ids is None:
        decoder_ids = torch.full_like(ids[:, :1], tuner.model.config.decoder_start_token_id)
    decoder_mask = real_tokens(
        call.source_decoder_attention_mask,
        (decoder_ids.shape[0], decoder_ids.shape[1]),
        ids.device,
        "source_decoder_attention_mask",
    )
    if tuner.active_config.after_prompt == "none":
        decoder_ids, decoder_mask = decoder_ids[:, :1], decoder_mask[:, :1]
    return decoder_ids, decoder_mask, _first_column(decoder_mask)


def _first_column(mask: Tensor) -> Tensor:
    return torch.arange(mask.shape[1], device=mask.device).expand_as(mask) == 0


def _given(tuner: FlareModel, call: SourceCall) -> dict[str, Source]:
    """From states that `encode_source` returned, perhaps long ago."""
    stacks = tuner.fused_stacks
    given: Sequence[Tensor] = (
        [call.source_states] if isinstance(call.source_states, Tensor) else call.source_states
    )
    if len(given) != len(stacks):
        raise ValueError(
            f"source_states holds {len(given)} tensors where {len(stacks)} stacks fuse "
            f"({', '.join(stack.path for stack in stacks)}): give what encode_source returned"
        )
    sources = {}
    for stack, states in zip(stacks, given, strict=True):
        layers = tuner.layers[stack.path]
        if states.dim() != 4 or states.shape[1] != len(layers):
            raise ValueError(
                f"source_states has shape {tuple(states.shape)}; wanted [batch, {len(layers)} fused blocks, tokens, "
                "width], as encode_source returns them for this adapter"
            )
        mask, prompt = _marks_of_given(tuner, call, stack, states[:, 0])
        sources[stack.path] = Source(
            {layer: states[:, index] for index, layer in enumerate(layers)}, mask, prompt
        )
    return sources


def _marks_of_given(
    tuner: FlareModel, call: SourceCall, stack: Stack, states: Tensor
) -> tuple[Tensor, Tensor | None]:
    if stack.decoder and not reads_its_own_text(tuner.model):
        shape = (states.shape[0], states.shape[1])
        mask = real_tokens(
            call.source_decoder_attention_mask, shape, states.device, "source_decoder_attention_mask"
        )
        if call.source_attention_mask is not None:
            mask = mask & call.source_attention_mask.bool().any(1, keepdim=True)
        return mask, _first_column(mask)
    mask = _mask(call, states)
    return mask, _prompt(call, mask)


def _projected(tuner: FlareModel, call: SourceCall) -> dict[str, Source]:
    """FLARE MT: the translation encoder's states, projected, for all stacks alike."""
    states, width = call.source_states, tuner.active_config.source_width
    if states.dim() != 3 or states.shape[-1] != width:
        raise ValueError(f"source_states has shape {tuple(states.shape)}; wanted [batch, tokens, {width}]")
    mask = _mask(call, states)
    projected = ProjectedStates(tuner.projection, states, tuner.states_dtype)
    return {stack.path: Source(projected, mask, None) for stack in tuner.fused_stacks}
