"""The target's side of a forward pass: which of its tokens are real, which are prompt, and where they fuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flare_ray.fusion.call import (
    SourceCall,
    cached_tokens,
    length_of,
    prompt_before_labels,
    reads_its_own_text,
    real_tokens,
)
from flare_ray.fusion.context import Alignment, Context, Source, align
from flare_ray.fusion.memory import remembered_beside
from flare_ray.fusion.placement import Stack

if TYPE_CHECKING:
    from flare_ray.fusion.model import FlareModel


def alignments_of(
    tuner: FlareModel, call: SourceCall, inputs: dict[str, Any], sources: dict[str, Source]
) -> Context:
    """The context of one forward pass: every fused stack's tokens aligned with its source's."""
    context = Context(sources, remembered=remembered_beside(tuner, inputs))
    after_prompt = tuner.active_config.after_prompt == "source_generation"
    for stack in tuner.fused_stacks:
        target = _decoder_target(tuner, inputs) if stack.decoder else _target(tuner, call, inputs, stack)
        if target is None:
            continue  # encoder_outputs are given: the encoder does not run
        keys, prompt, tokens = target
        source = sources.get(stack.path)
        if source is not None and source.mask.shape[0] != keys.shape[0]:
            raise ValueError(
                f"{source.mask.shape[0]} source rows for {keys.shape[0]} target rows: every target wants its own"
            )
        context.alignments[stack.path] = align(
            source, keys, prompt, tokens, causal=stack.causal, after_prompt=after_prompt
        )
    return context


def encoder_alignment(stack: Stack, source: Source | None, mask: Tensor) -> Alignment:
    """Alignment of an encoder's text, bool mask [b, n], all of which is prompt."""
    everything = torch.ones_like(mask)
    return align(source, mask, everything, mask.shape[1], causal=stack.causal, after_prompt=False)


def _target(
    tuner: FlareModel, call: SourceCall, inputs: dict[str, Any], stack: Stack
) -> tuple[Tensor, Tensor, int] | None:
    """Real tokens and prompt, bool [b, p + n], and n, of an encoder or a decoder-only model."""
    if (length := length_of(inputs)) is None:
        return None
    rows, tokens, device = length
    total = tokens + (cached_tokens(inputs) if not _encodes(tuner) else 0)
    keys = real_tokens(inputs.get("attention_mask"), (rows, total), device, "attention_mask")
    labels = inputs.get("labels")
    if call.prompt_mask is not None:
        prompt = real_tokens(call.prompt_mask, (rows, total), device, "prompt_mask")
    elif stack.causal and tuner.model.can_generate() and labels is not None and labels.shape == keys.shape:
        prompt = prompt_before_labels(labels, keys)
    else:
        prompt = torch.ones_like(keys)
    return keys, prompt, tokens


def _encodes(tuner: FlareModel) -> bool:
    return bool(getattr(tuner.model.config, "is_encoder_decoder", False))


def _decoder_target(tuner: FlareModel, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    """The same of an encoder-decoder's decoder, whose prompt is its start token unless it reads its own text."""
    length = length_of(inputs, "decoder_")
    if length is None:
        labels = inputs.get("labels")
        if labels is None:
            raise ValueError("an encoder-decoder wants decoder_input_ids or labels")
        length = (labels.shape[0], labels.shape[1], labels.device)
    rows, tokens, device = length
    total = tokens + cached_tokens(inputs)
    keys = real_tokens(inputs.get("decoder_attention_mask"), (rows, total), device, "decoder_attention_mask")
    if reads_its_own_text(tuner.model):
        return keys, torch.ones_like(keys), tokens
    return keys, torch.arange(total, device=device).expand_as(keys) == 0, tokens
