"""X-Mixup: one block of a multilingual model mixes the target's attention with attention over the source text.

In block l, with x^T, x^S what the block's attention reads of the target and the source text:

    λ = 0.5 · σ(w · H + b),  mixed = λ · Attn(x^T → x^S) + (1 − λ) · Attn(x^T → x^T)

`mixed` takes the place of the attention's output: the block's own residual and LayerNorm follow. The projections
are the block's own, adapters included; w and b are all that is new (Yang et al., ICLR 2022; a baseline of FLARE).

    from flare_ray.mixup import MixupConfig, MixupModel
    model = MixupModel(get_peft_model(base, LoraConfig(…)), MixupConfig(form="classification"))
    loss = model(input_ids=…, attention_mask=…, labels=…, source={"input_ids": …, "attention_mask": …}).loss
    model.save_pretrained(folder)
    model = MixupModel.from_pretrained(base, folder)

Where the paper and Yang et al.'s code leave it open or would not do here:

- Their code mixes a block further on: it asks with the output of the target's whole attention sub-layer, LayerNorm
  included, and normalises the mixture a second time. Here the mixture stands where the attention's output stands, so
  that λ = 0, and an encoder's source equal to its target, give the plain model.
- H is in nats and not divided by its largest value, as in their code. It averages over real tokens; theirs over
  padding too. On long texts λ is then close to its limit when training begins.
- Their trainer predicts a class by the mean of the source's and the target's distribution. Here `logits` are the
  target's; `source_logits` stand beside them.
- Masked means are over all real tokens of the prompt; theirs leave out the first and the last.
- In a model that generates, λ is measured on the two prompts. Answers never move it and are never looked at.

The package itself is light: torch, transformers and PEFT are imported with `MixupModel`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_ray.mixup.config import MixupConfig
    from flare_ray.mixup.model import MixupModel, MixupOutput
    from flare_ray.mixup.schedule import gold_probability

__all__ = ["MixupConfig", "MixupModel", "MixupOutput", "gold_probability"]

_HOMES = {
    "MixupConfig": "config",
    "MixupModel": "model",
    "MixupOutput": "model",
    "gold_probability": "schedule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
