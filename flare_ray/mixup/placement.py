"""Where mixup happens: the block, and the attention in it.

In an encoder-decoder it is a block of the encoder: its tasks here (classification, span extraction) give the
decoder the same text to read, which by then is mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from flare_ray.fusion.call import reads_its_own_text
from flare_ray.fusion.placement import (
    CROSS_ATTENTION,
    backbone_of,
    block_of,
    decoder_of,
    encoder_of,
    stack_at,
)
from flare_ray.fusion.source import frozen_base
from flare_ray.mixup.attention import (
    KINDS,
    CrossAttention,
    check_supported,
    kind_of,
    read_by,
    unknown_attention,
)
from flare_ray.mixup.config import MixupConfig


@dataclass(frozen=True)
class Place:
    """The block that mixes.

    number: its number in the stack; block: the module; attention: its attention, to be used on two texts.
    final: the module whose first output is the states that the model's head reads, [b, n, d].
    causal: whether the stack's self-attention is.
    """

    number: int
    block: Any
    attention: CrossAttention
    final: nn.Module
    causal: bool


def find_place(base: Any, config: MixupConfig) -> Place:
    """The block of a Hugging Face model that mixes under a configuration.

    Raises:
        ValueError: for a block beyond the last, an attention that is not known, and a model whose kind does not go
            with `config.form`.
    """
    paired = bool(getattr(base.config, "is_encoder_decoder", False))
    root = encoder_of(base) if paired else base
    stacks = _attentions(base, root)
    if not stacks:
        raise ValueError(_unknown(base))
    path = max(stacks, key=lambda stack: len(stacks[stack]))
    stack = stack_at(base, path)
    _check_form(base, config, paired, stack.causal)
    number = config.block_of(len(stack.blocks))
    found = stacks[path].get(number, [])
    if len(found) != 1:
        raise ValueError(f"block {number} of {path}: {len(found)} attentions found. {_unknown(base)}")
    kind = kind_of(found[0])
    assert kind is not None
    check_supported(found[0], kind)
    attention = kind(found[0], stacks[path].get(0, found)[0])
    check_agreement(base, backbone_of(base) if root is base else root, attention)
    final = decoder_of(base) if paired else backbone_of(base)
    return Place(number, stack.blocks[number], attention, final or root, stack.causal)


def check_agreement(base: Any, runner: nn.Module, attention: CrossAttention) -> None:
    """Refuse an attention that this package would get wrong: a short text, read as its own source, must give at its
    last token, which sees all of it, what the block's attention gives there.

    Args:
        base: the Hugging Face model; runner: that part of it which runs the blocks.
        attention: of the block.
    """
    if base.device.type == "meta":
        return
    ids = torch.arange(5, 9, device=base.device)[None] % base.config.get_text_config().vocab_size
    ratio: list[float] = []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        states, positions = read_by(module, args, kwargs)
        keys, values = attention.keys_and_values(states, positions)
        everything = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        found = attention.attend(attention.scores(states, keys, positions), values, everything)
        wanted, found = output[0][0, -1].float(), found[0, -1].float()
        ratio.append(float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)))

    handle = attention.module.register_forward_hook(hook, with_kwargs=True)
    try:
        with frozen_base(base):
            runner(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        handle.remove()
    if ratio and ratio[0] > 0.1:  # half precision stays below; another rotation, scale or norm does not
        why = f"it gives another result than its projections let expect, off by {ratio[0]:.0%}"
        raise ValueError(unknown_attention(attention.module, why))


def _attentions(base: nn.Module, root: nn.Module) -> dict[str, dict[int, list[nn.Module]]]:
    """Known self-attentions under `root`, by the path of their stack and the number of their block."""
    inside = {id(module) for module in root.modules()}
    found: dict[str, dict[int, list[nn.Module]]] = {}
    for name, module in base.named_modules():
        if (
            id(module) not in inside
            or CROSS_ATTENTION.intersection(name.split("."))
            or kind_of(module) is None
        ):
            continue
        if place := block_of(base, name):
            found.setdefault(place[0], {}).setdefault(place[1], []).append(module)
    return found


def _unknown(base: nn.Module) -> str:
    wanted = "; ".join(", ".join(kind.names) for kind in KINDS)
    return (
        f"{type(base).__name__}: X-Mixup wants one self-attention in each numbered block, whose projections are "
        f"named {wanted}. For other names, write a kind in flare_ray/mixup/attention.py"
    )


def _check_form(base: Any, config: MixupConfig, paired: bool, causal: bool) -> None:
    if config.form == "generation" and (paired or not causal):
        raise ValueError(f"form='generation' wants a decoder-only model, and {type(base).__name__} is none")
    if config.form != "generation" and paired and not reads_its_own_text(base):
        raise ValueError(
            f"form={config.form!r}: {type(base).__name__} generates; X-Mixup takes encoder-decoders with a "
            "classification or span head, whose decoder reads the input text"
        )
    if config.form == "span" and causal and not paired:
        raise ValueError("form='span' wants an encoder or encoder-decoder: a causal model cannot look ahead")
    if config.form == "classification" and getattr(base.config, "num_labels", 2) < 2:
        raise ValueError("form='classification' wants two labels or more: KL compares distributions")


@contextmanager
def kept_out_of_checkpointing(base: nn.Module, block: nn.Module) -> Iterator[None]:
    """While gradient checkpointing is on, the mixing block alone keeps its activations.

    Its states pass from one text's run to the other's, which a replay in backward, when both are over, could not
    repeat. All other blocks are checkpointed as ever.

    Raises:
        ValueError: for a model that checkpoints other than by block, as before transformers 5.
    """
    checkpointed = [module for module in base.modules() if getattr(module, "gradient_checkpointing", False)]
    if not (checkpointed and block.training and torch.is_grad_enabled()):
        yield
        return
    if not isinstance(block, GradientCheckpointingLayer):
        raise ValueError(
            f"gradient checkpointing with X-Mixup wants blocks that are GradientCheckpointingLayers, and "
            f"{type(block).__name__} is none: turn checkpointing off"
        )
    former = block.gradient_checkpointing
    block.gradient_checkpointing = False
    try:
        yield
    finally:
        block.gradient_checkpointing = former
