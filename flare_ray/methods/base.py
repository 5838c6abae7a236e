"""What a method is: which axes apply to it, which text it reads, which adapter it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from flare_ray.models.base import Family

if TYPE_CHECKING:
    from peft import PeftConfig


class Method(ABC):
    """One row of Table 1."""

    name: ClassVar[str]
    setting: ClassVar[str]
    """The paper's group of rows: zero-shot, translate-test or translate-train."""
    axes: ClassVar[tuple[str, ...]] = ()
    """Axes of the sweep that change this method's result: of "rank", "fusion"."""
    trains: ClassVar[bool] = True
    """Whether anything is trained on the target language."""
    reads_source: ClassVar[bool] = False
    """Whether the English text goes in beside the target's, in training and at test."""
    VERSION: ClassVar[str] = "1"
    """Bumped by hand when a change of code changes results; enters the fingerprint of this method's runs."""

    @abstractmethod
    def adapter(self, settings: Mapping[str, Any], family: Family) -> PeftConfig | None:
        """The PEFT config trained on the base model; None when nothing is trained.

        settings: rank, alpha, dropout and, where the axis applies, fusion.
        """


def lora_settings(settings: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The part of a LoraConfig that every trained method shares: sizes, places, and the trained task head."""
    return {
        "r": settings["rank"],
        "lora_alpha": settings["alpha"],
        "lora_dropout": settings["dropout"],
        "target_modules": list(family.lora_modules),
        "modules_to_save": list(family.head_modules),
        "task_type": "SEQ_CLS",
    }
