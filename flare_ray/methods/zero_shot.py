"""Zero-shot transfer: the base model, fine-tuned on English, reads the target language's test set."""

from collections.abc import Mapping
from typing import Any

from flare_ray.methods.base import Method
from flare_ray.models.base import Family


class ZeroShot(Method):
    """Trains nothing on the target language."""

    name = "zero_shot"
    setting = "zero-shot"
    trains = False

    def adapter(self, settings: Mapping[str, Any], family: Family) -> None:
        """No adapter."""
        return None


METHOD = ZeroShot()
