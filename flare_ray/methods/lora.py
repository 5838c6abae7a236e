"""LoRA on task data in the target language (Hu et al., 2022): the paper's translate-train baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flare_ray.methods.base import Method, lora_settings
from flare_ray.models.base import Family

if TYPE_CHECKING:
    from peft import LoraConfig


class Lora(Method):
    """A LoRA adapter and the task head, trained on the target text alone."""

    name = "lora"
    setting = "translate-train"
    axes = ("rank",)

    def adapter(self, settings: Mapping[str, Any], family: Family) -> LoraConfig:
        """LoRA on the family's projections."""
        from peft import LoraConfig

        return LoraConfig(**lora_settings(settings, family))


METHOD = Lora()
