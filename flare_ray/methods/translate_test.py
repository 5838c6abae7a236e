"""Translate-test: the base model, fine-tuned on English, reads the test set's translation into English."""

from collections.abc import Mapping
from typing import Any, Literal

from flare_ray.methods.base import Method, Options


class TranslateTestOptions(Options):
    """Which English it reads at test."""

    test_source: Literal["translation", "gold"] = "translation"
    """`gold` reads the corpus's own English: what a perfect translation would give (Table 4)."""


class TranslateTest(Method):
    """Trains nothing; with one English text for all languages they share one pass."""

    name = "translate_test"
    setting = "translate-test"
    trains = False
    reads = "source"
    Options = TranslateTestOptions

    def source_at_test(self, options: Mapping[str, Any]) -> Literal["translation", "gold", "none"]:
        """As the option says."""
        return options["test_source"]


METHOD = TranslateTest()
