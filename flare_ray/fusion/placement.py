"""Where fusion happens: which targeted modules fuse, in which numbered block of which stack.

A stack is a list of blocks (`nn.ModuleList`) that hidden states run through: one in an encoder or decoder, two
in an encoder-decoder. A module's block is found on its path, so any model with numbered blocks will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from flare_ray.fusion.config import FlareConfig

# The paper's placement under the names that models give to query and value projections.
QUERY_AND_VALUE = frozenset({"query", "value", "q", "v", "q_proj", "v_proj", "q_lin", "v_lin"})
# Attention over another sequence: its inputs are no hidden states of the stack, so that it never fuses.
CROSS_ATTENTION = frozenset(
    {
        "EncDecAttention",
        "encoder_attn",
        "crossattention",
        "cross_attention",
        "cross_attn",
        "encoder_attention",
    }
)


@dataclass(frozen=True)
class Site:
    """A place of fusion: block number `layer` of the stack at path `stack`, and its fusion function."""

    stack: str
    layer: int
    fusion: str


def site_of(model: nn.Module, config: FlareConfig, key: str) -> Site | None:
    """The place of fusion of the targeted module `key`, or None where plain LoRA is wanted.

    Raises ValueError for a module named in fusion_modules that is in no numbered block, or that does not read
    hidden states of the model's width.
    """
    fusion = _module_fusion(config, key)
    if fusion is None or CROSS_ATTENTION.intersection(key.split(".")):
        return None
    block = block_of(model, key)
    if block is None:
        raise ValueError(
            f"{key} is in no numbered block, so it has no source states: leave it out of fusion_modules"
        )
    stack, layer = block
    by_layer = config.layer_fusions()
    if by_layer is not None:
        if layer not in by_layer:
            return None
        fusion = by_layer[layer] or fusion
    _check_width(model, key)
    return Site(stack, layer, fusion)


def block_of(model: nn.Module, key: str) -> tuple[str, int] | None:
    """Path of the outermost list of blocks around module `key`, and the block's number in it."""
    module, path = model, list[str]()
    for part in key.split("."):
        if isinstance(module, nn.ModuleList):
            return ".".join(path), int(part)
        module = getattr(module, part)
        path.append(part)
    return None


def _module_fusion(config: FlareConfig, key: str) -> str | None:
    wanted = config.fusion_modules
    if wanted is None:
        return config.fusion if key.rpartition(".")[2] in QUERY_AND_VALUE else None
    for name in wanted:
        if key == name or key.endswith(f".{name}"):
            return wanted[name] if isinstance(wanted, dict) else config.fusion
    return None


def _check_width(model: nn.Module, key: str) -> None:
    """Refuse a module whose input is not as wide as the blocks' hidden states, such as an MLP's second half."""
    module = model.get_submodule(key)
    width = width_of(model)
    seen = getattr(module, "in_features", None) or getattr(module, "nx", None)
    if width is not None and seen is not None and seen != width:
        raise ValueError(
            f"{key} reads {seen} features, but source states have {width}: leave it out of fusion_modules"
        )


def width_of(model: nn.Module) -> int | None:
    """d, the width of the blocks' hidden states; None when the model's configuration does not say."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "hidden_size", None)


@dataclass
class Stack:
    """A list of blocks that fuse, found by its path in the model.

    causal: whether a token attends only to itself and to what is left of it.
    decoder: whether this is the decoder of an encoder-decoder.
    """

    path: str
    blocks: list[nn.Module]
    causal: bool
    decoder: bool


def stack_at(model: nn.Module, path: str) -> Stack:
    """The stack at a path. Its blocks say themselves whether their attention is causal."""
    blocks = list(model.get_submodule(path).children())
    decoder = False
    if getattr(model.config, "is_encoder_decoder", False):
        second = decoder_of(model)
        decoder = any(module is blocks[0] for module in second.modules()) if second is not None else False
    causal = decoder or any(
        getattr(module, "is_causal", False)
        for name, module in blocks[0].named_modules()
        if not CROSS_ATTENTION.intersection(name.split("."))
    )
    return Stack(path, blocks, causal, decoder)


def backbone_of(model: nn.Module) -> nn.Module:
    """The model without its head: what `base_model_prefix` names, or the model itself."""
    return getattr(model, getattr(model, "base_model_prefix", "") or "", model)


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder of an encoder-decoder."""
    return backbone_of(model).encoder  # type: ignore[return-value]


def decoder_of(model: nn.Module) -> nn.Module | None:
    """The decoder of an encoder-decoder, None when it has none (an encoder-only head)."""
    return getattr(backbone_of(model), "decoder", None)
