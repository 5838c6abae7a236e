"""LoRA on task data in the target language (Hu et al., 2022): the paper's translate-train baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flare_ray.methods.base import Method, Posed, lora_config

if TYPE_CHECKING:
    from peft import PeftConfig


class Lora(Method):
    """A LoRA adapter and the task head, trained on the target text alone."""

    name = "lora"
    setting = "translate-train"
    axes = ("rank",)

    def adapter(self, settings: Mapping[str, Any], posed: Posed) -> PeftConfig:
        """LoRA on the family's projections."""
        return lora_config(settings, posed)


METHOD = Lora()
