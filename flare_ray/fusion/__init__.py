"""FLARE as a PEFT method: LoRA whose bottleneck also sees the sentence in the source language.

For an adapted projection W of a frozen model, with v^T the target's hidden states, v^S the source's, and the
LoRA factors A (r × d) and B (d × r):

    S = A v^S,  T = A v^T,  h = φ(S, T),  output = W v^T + (α/r) · B h

    from flare_ray.fusion import FlareConfig
    model = get_peft_model(base, FlareConfig(r=64, lora_alpha=128, target_modules=["query", "value"]))
    loss = model(input_ids=…, attention_mask=…, source_input_ids=…, source_attention_mask=…, labels=…).loss
    model.save_pretrained(path)

The package itself is light: PEFT and torch are imported with the first name taken from it, and
`flare_ray.fusion.names` never needs them. `PeftModel.from_pretrained(base, path)` finds FLARE adapters once
`FlareConfig` or `FlareModel` has been imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_ray.fusion.capture import Activations, capture_activations
    from flare_ray.fusion.config import FlareConfig
    from flare_ray.fusion.model import FlareModel
    from flare_ray.fusion.names import fusion_names

__all__ = ["Activations", "FlareConfig", "FlareModel", "capture_activations", "fusion_names"]

_HOMES = {
    "Activations": "capture",
    "FlareConfig": "model",  # the model's file also enters both classes into PEFT's tables
    "FlareModel": "model",
    "capture_activations": "capture",
    "fusion_names": "names",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
