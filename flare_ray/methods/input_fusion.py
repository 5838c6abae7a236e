"""Input-level fusion: English and target text end to end as one input of double length (paper, section 4.2).

The English text stands first and is cut first where both do not fit; labels and spans are the target's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from flare_ray.methods.base import Method, Options, Posed, lora_config

if TYPE_CHECKING:
    from peft import PeftConfig


class InputFusionOptions(Options):
    """Which English it reads at test."""

    test_source: Literal["translation", "gold"] = "translation"
    """`gold` reads the corpus's own English at test (Table 4)."""


class InputFusion(Method):
    """LoRA over both texts in one input."""

    name = "input_fusion"
    setting = "translate-train"
    axes = ("rank",)
    reads = "both"
    joins = True
    Options = InputFusionOptions

    def source_at_test(self, options: Mapping[str, Any]) -> Literal["translation", "gold", "none"]:
        """As the option says."""
        return options["test_source"]

    def adapter(self, settings: Mapping[str, Any], posed: Posed) -> PeftConfig:
        """LoRA on the family's projections."""
        return lora_config(settings, posed)


METHOD = InputFusion()
