"""Generating with a source: prompt tokens fuse with the source's prompt, later ones as `after_prompt` says.

A token's column in the sequence says what it is, so decoding with a KV cache, without one, or in pieces fuses
the same tokens. Beams and samples of a prompt stand next to each other and share its source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flare_ray.fusion.align import compact
from flare_ray.fusion.call import SourceCall, cached_tokens, length_of, real_tokens
from flare_ray.fusion.context import Context, align
from flare_ray.fusion.memory import remembered_beside
from flare_ray.fusion.source import frozen_base
from flare_ray.fusion.sources import sources_of
from flare_ray.fusion.targets import encoder_alignment

if TYPE_CHECKING:
    from flare_ray.fusion.model import FlareModel


@dataclass
class Generation:
    """One call of `generate`.

    context: the sources, and the alignment of an encoder, which runs once before the first step.
    prompt: real tokens of the prompt, bool [b, P]; of an encoder-decoder, its decoder's start token.
    """

    tuner: FlareModel
    context: Context
    prompt: Tensor

    def step(self, inputs: dict[str, Any]) -> Context:
        """The context of a step, whose tokens are the columns after those in the cache."""
        encodes = is_encoder_decoder(self.tuner)
        length = length_of(inputs, "decoder_" if encodes else "")
        if length is None:
            raise ValueError("generate ran the model without input ids")
        rows, tokens, device = length
        total, width = cached_tokens(inputs) + tokens, self.prompt.shape[1]
        prompt = self.prompt.repeat_interleave(rows // self.prompt.shape[0], 0)
        new = torch.ones((rows, max(total - width, 0)), dtype=torch.bool, device=device)
        keys = torch.cat([prompt, new], 1)[:, :total]
        in_prompt = torch.arange(total, device=device).expand_as(keys) < width
        alignments = dict(self.context.alignments)
        for stack in self.tuner.fused_stacks:
            if stack.decoder or not encodes:
                alignments[stack.path] = align(
                    self.context.sources.get(stack.path),
                    keys,
                    in_prompt,
                    tokens,
                    causal=stack.causal,
                    after_prompt=self.continues,
                    answering=total - tokens >= width,
                )
        return Context(self.context.sources, alignments, remembered_beside(self.tuner, inputs))

    @property
    def continues(self) -> bool:
        """Whether tokens after the prompt fuse with the source's answer."""
        return self.tuner.active_config.after_prompt == "source_generation"


def is_encoder_decoder(tuner: FlareModel) -> bool:
    """Whether the model generates by a decoder of its own."""
    return bool(getattr(tuner.model.config, "is_encoder_decoder", False))


def begin_generation(
    tuner: FlareModel, call: SourceCall, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generation:
    """Get the sources of a call of `generate` ready, the source's own answer included where it is wanted."""
    inputs = {"input_ids": args[0] if args else kwargs.get("inputs"), **kwargs}
    if (length := length_of(inputs)) is None:
        raise ValueError("generate wants input_ids")
    rows, width, device = length
    mask = inputs.get("attention_mask")
    if mask is None and inputs["input_ids"] is not None:
        mask = _mask_of_padding(tuner, inputs["input_ids"])
    prompt = real_tokens(mask, (rows, width), device, "attention_mask")
    if tuner.active_config.after_prompt == "source_generation" and call.source_input_ids is not None:
        call = _with_answer(tuner, call, kwargs, width)
    context = Context(sources_of(tuner, call))
    for source in context.sources.values():
        if source.mask.shape[0] != rows:
            raise ValueError(
                f"{source.mask.shape[0]} source rows for {rows} prompts: each prompt wants its own source"
            )
    if is_encoder_decoder(tuner):
        for stack in tuner.fused_stacks:
            if not stack.decoder:
                source_text = context.sources.get(stack.path)
                context.alignments[stack.path] = encoder_alignment(stack, source_text, prompt)
        prompt = prompt.new_ones((rows, 1))
    return Generation(tuner, context, prompt)


def _mask_of_padding(tuner: FlareModel, ids: Tensor) -> Tensor | None:
    """What `generate` itself takes for padding when it is given no mask."""
    config = tuner.model.generation_config
    pad, eos = config.pad_token_id, config.eos_token_id
    ends = eos if isinstance(eos, list) else [eos]
    if pad is None or pad in ends or not bool((ids == pad).any()):
        return None
    return ids != pad


def _with_answer(tuner: FlareModel, call: SourceCall, kwargs: dict[str, Any], width: int) -> SourceCall:
    """The call with the answer that the frozen base gives, greedily, to the source."""
    ids = call.source_input_ids
    assert ids is not None
    mask = real_tokens(
        call.source_attention_mask, (ids.shape[0], ids.shape[1]), ids.device, "source_attention_mask"
    )
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)  # a decoder continues from the right end
    ids, mask = compact(ids, order), compact(mask, order)
    settings: dict[str, Any] = {
        name: kwargs[name]
        for name in ("eos_token_id", "pad_token_id", "decoder_start_token_id")
        if name in kwargs
    }
    settings |= {"max_new_tokens": _new_tokens(tuner, kwargs, width), "do_sample": False, "num_beams": 1}
    generate = type(tuner.model).generate
    with frozen_base(tuner.model), tuner.in_source_pass():
        answered = generate(tuner.model, input_ids=ids, attention_mask=mask.long(), **settings)
    if is_encoder_decoder(tuner):
        kept = _until_end(tuner, answered[:, 1:], kwargs)
        kept = torch.cat([kept.new_ones((len(kept), 1)), kept], 1)
        return replace(
            call,
            source_input_ids=ids,
            source_attention_mask=mask,
            source_decoder_input_ids=answered,
            source_decoder_attention_mask=kept,
        )
    kept = _until_end(tuner, answered[:, ids.shape[1] :], kwargs)
    return replace(
        call,
        source_input_ids=answered,
        source_attention_mask=torch.cat([mask, kept], 1),
        source_prompt_mask=torch.cat([torch.ones_like(mask), torch.zeros_like(kept)], 1),
    )


def _new_tokens(tuner: FlareModel, kwargs: dict[str, Any], width: int) -> int:
    """How many tokens the target may generate."""
    config = kwargs.get("generation_config") or tuner.model.generation_config
    for new in (kwargs.get("max_new_tokens"), config.max_new_tokens if "max_length" not in kwargs else None):
        if new is not None:
            return int(new)
    longest = kwargs.get("max_length") or config.max_length or 20
    return max(int(longest) - (1 if is_encoder_decoder(tuner) else width), 1)


def _until_end(tuner: FlareModel, tokens: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Which generated tokens [b, k] are real: those up to the first end-of-sequence token, it included."""
    config = kwargs.get("generation_config") or tuner.model.generation_config
    eos = kwargs.get("eos_token_id", config.eos_token_id)
    if eos is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    ends = torch.isin(tokens, torch.as_tensor(eos, device=tokens.device))
    return ends.long().cumsum(1) - ends.long() == 0
