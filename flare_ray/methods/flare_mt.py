"""FLARE MT (paper, section 3.4): the source is what a translation model's encoder makes of the target text.

No English text and no pass of the base over it: the encoder's states go through one trained projection into every
fused block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from flare_ray.methods.base import Batch, Method, Options, Posed, lora_settings
from flare_ray.plan.checkpoints import translator
from flare_ray.plan.located import Encoder
from flare_ray.translation.checkpoints import flores

if TYPE_CHECKING:
    from flare_ray.fusion import FlareConfig


class FlareMTOptions(Options):
    """Which translation model, and what carries its states over."""

    mt_model: Encoder = "nllb-200-distilled-600m"
    """A name the package knows (Figure 3 compares sizes), a hub id, or a folder."""
    projection: Literal["linear", "mlp"] = "linear"
    """The paper's linear map, or the MLP it names as promising."""


class FlareMT(Method):
    """A fusion adapter, a projection and the task head, trained on the target text alone."""

    name = "flare_mt"
    setting = "translate-train"
    axes = ("rank", "fusion")
    Options = FlareMTOptions

    def translator(self, options: Mapping[str, Any]) -> str:
        """The translation model's checkpoint."""
        return translator(options["mt_model"])

    def speaks(self, language: str) -> bool:
        """Whether NLLB has a code for the language."""
        try:
            return bool(flores(language))
        except KeyError:
            return False

    def adapter(self, settings: Mapping[str, Any], posed: Posed) -> FlareConfig:
        """Fusion with projected states; settings have the encoder's width as `source_width`."""
        from flare_ray.fusion import FlareConfig

        return FlareConfig(
            **lora_settings(settings, posed),
            fusion=settings["fusion"],
            fusion_modules=list(posed.family.fusion_modules),
            source="mt_encoder",
            source_width=settings["source_width"],
            projection=settings["projection"],
        )

    def inputs(self, batch: Batch, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The target with the encoder's states."""
        return batch.target | (batch.states or {})


METHOD = FlareMT()
