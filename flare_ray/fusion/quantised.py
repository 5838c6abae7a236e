"""What a bitsandbytes base needs so that gradients pass through it."""

from __future__ import annotations

from torch import nn

# bitsandbytes' own names, read by its Linear4bit.forward (0.49 to 0.50).
_MAY_PACK = "support_avx512bf16_for_cpu"
_PACKED = "packing_format_for_cpu"


def keep_differentiable(model: nn.Module) -> None:
    """Keep 4-bit layers in the format that has a backward pass.

    On CPUs with AVX512-BF16, bitsandbytes repacks a 4-bit layer's weights at its first call in evaluation mode,
    for good, into a format without a backward pass: from then on no gradient would reach what lies below, and
    nothing would say so. The source pass is such a call, and it comes before the first training step.

    Raises:
        ValueError: for weights that are repacked already, by an earlier evaluation of the base.
    """
    for name, module in model.named_modules():
        if not hasattr(module, _MAY_PACK):
            continue
        if getattr(getattr(module.weight, "quant_state", None), _PACKED, False):
            raise ValueError(
                f"bitsandbytes has repacked {name} for inference on this CPU, where no gradient passes any more: "
                "load the base anew before training an adapter on it"
            )
        setattr(module, _MAY_PACK, False)
