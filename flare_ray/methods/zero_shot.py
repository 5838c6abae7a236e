"""Zero-shot transfer: the base model, fine-tuned on English, reads the target language's test set."""

from flare_ray.methods.base import Method


class ZeroShot(Method):
    """Trains nothing on the target language."""

    name = "zero_shot"
    setting = "zero-shot"
    trains = False


METHOD = ZeroShot()
