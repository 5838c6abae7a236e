"""The fused layer: what a LoRA layer computes once it has a fusion function (paper, section 3.1)."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn

from flare_ray.fusion.context import Context, Flow
from flare_ray.fusion.placement import Site

MERGE_REFUSAL = (
    "FLARE adapters cannot be merged: their output depends on the source's states, which no weight of the base "
    "can hold. Keep the adapter beside the base (save_pretrained), or unload() to get the base back"
)


class FlareVariant(LoraVariant):
    """Fusion for Language Representations (FLARE) as a variant of a LoRA layer.

    It differs from LoRA in one step: between A and B stands h = φ(A v^S, A v^T), with v^S the source's states
    of the layer's block; A is shared by both languages. One instance per layer and adapter knows its place.
    """

    def __init__(self, flow: Flow, key: str, site: Site) -> None:
        self.flow = flow
        self.key = key
        self.site = site

    def supports_lora_conversion(self) -> bool:
        """No: see MERGE_REFUSAL."""
        return False

    def forward(  # type: ignore[override]
        self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """W v^T + (α/r) B φ(S, T).

        Args:
            module: the LoRA layer.
            active_adapter: name of the adapter.
            x: v^T, [rows, n, d].
            result: W v^T, [rows, n, d'].
            kwargs: of other variants, unused.

        Returns:
            [rows, n, d'].
        """
        context, alignment = self.flow.current(self.site.stack)
        self._check_shape(x, alignment.keys.shape[0], alignment.tokens)
        lora_a, dropout = module.lora_A[active_adapter], module.lora_dropout[active_adapter]
        fusion = module.lora_fusion[active_adapter]
        target = lora_a(dropout(x))
        before = self._remember(context, target, active_adapter) if fusion.needs_context else target
        source = None
        if alignment.columns is None:
            hidden = fusion.alone(target)
        else:
            source = self._source(context, lora_a, dropout)
            if fusion.needs_context and before.shape[1] != alignment.keys.shape[1]:
                raise RuntimeError(
                    f"{self.key}: decoding goes on from a cache whose first tokens were not fused here. Pass the "
                    "cache (past_key_values=DynamicCache()) from the first call on, or decode with use_cache=False"
                )
            hidden = fusion(source, target, alignment.present, before, lambda: alignment.seen)
        if self.flow.capture is not None:
            self.flow.capture.record(self.key, self.site, alignment, source, target, hidden)
        return result + module.lora_B[active_adapter](hidden) * module.scaling[active_adapter]

    def _source(self, context: Context, lora_a: nn.Module, dropout: nn.Module) -> Tensor:
        """S at the target's tokens, [rows, n, r]; a decoding step projects only the tokens it needs."""
        states = context.sources[self.site.stack].states[self.site.layer]
        alignment = context.alignments[self.site.stack]
        if 8 * alignment.tokens < states.shape[1]:
            return down(lora_a, dropout, alignment.take(states))
        return alignment.take(down(lora_a, dropout, states))

    def _remember(self, context: Context, target: Tensor, adapter: str) -> Tensor:
        """T of all tokens so far, [rows, p + n, r], kept beside the KV cache when there is one."""
        if context.remembered is None:
            return target
        place = (self.key, adapter)
        past = context.alignments[self.site.stack].past
        if past and place in context.remembered:
            target = torch.cat([context.remembered[place][:, :past], target], 1)
        context.remembered[place] = target.detach()
        return target

    def _check_shape(self, x: Tensor, rows: int, tokens: int) -> None:
        if x.dim() != 3 or x.shape[0] != rows or x.shape[1] != tokens:
            raise RuntimeError(
                f"{self.key} got an input of shape {tuple(x.shape)} where the stack runs {rows} sentences of "
                f"{tokens} tokens: it does not see whole sentences, so leave it out of fusion_modules"
            )

    def merge_safe(self, *args: Any, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        """Refuse."""
        raise ValueError(MERGE_REFUSAL)

    merge_unsafe = unmerge = merge_safe


def down(lora_a: nn.Module, dropout: nn.Module, states: Tensor) -> Tensor:
    """A v^S, [b, m, d] → [b, m, r].

    Adapters of a half-precision model are fp32 (PEFT's default), so states are cast on the way in. Autograd would
    keep that fp32 copy for each layer until backward; it keeps the states themselves instead and casts again.
    """
    weight = lora_a.weight
    assert isinstance(weight, Tensor)
    if torch.is_autocast_enabled(states.device.type) or states.dtype == weight.dtype:
        return lora_a(dropout(states))
    cast = states.to(weight.dtype)

    def pack(tensor: Tensor) -> Tensor | torch.Size:
        same = tensor.data_ptr() == cast.data_ptr() and tensor.numel() == cast.numel()
        return tensor.shape if same else tensor

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        return kept if isinstance(kept, Tensor) else states.reshape(kept).to(weight.dtype)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return lora_a(dropout(cast))


def attach(layer: Any, adapter_name: str, fusion: nn.Module, variant: FlareVariant) -> None:
    """Give a LoRA layer its fusion function, trained, saved and moved as its A and B are."""
    if "lora_fusion" not in layer.adapter_layer_names:
        layer.adapter_layer_names = (*layer.adapter_layer_names, "lora_fusion")
        layer.lora_fusion = nn.ModuleDict()
    weight = layer.lora_A[adapter_name].weight
    if weight.device.type != "meta":
        fusion = fusion.to(weight.device, weight.dtype)
    layer.lora_fusion[adapter_name] = fusion.requires_grad_(weight.requires_grad)
    layer.lora_variant[adapter_name] = variant
