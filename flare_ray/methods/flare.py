"""FLARE (paper, section 3): English hidden states fused into the LoRA bottleneck of the target language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flare_ray.methods.base import Method, lora_settings
from flare_ray.models.base import Family

if TYPE_CHECKING:
    from flare_ray.fusion import FlareConfig


class Flare(Method):
    """A fusion adapter and the task head, trained on the target text with its English parallel as the source."""

    name = "flare"
    setting = "translate-train"
    axes = ("rank", "fusion")
    reads_source = True

    def adapter(self, settings: Mapping[str, Any], family: Family) -> FlareConfig:
        """Fusion on the family's fusion projections, plain LoRA on its others."""
        from flare_ray.fusion import FlareConfig

        return FlareConfig(
            **lora_settings(settings, family),
            fusion=settings["fusion"],
            fusion_modules=list(family.fusion_modules),
        )


METHOD = Flare()
