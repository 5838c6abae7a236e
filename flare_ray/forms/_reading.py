"""How questions are read and answered: settings of a run that forms encode and predict by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReadingOptions:
    """How questions are read and answered, beyond `max_length`.

    max_answer: longest answer, in tokens. windows: whether a generating model reads a context that is too long in
    overlapping windows; a span head always does.
    """

    max_answer: int = 64
    windows: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ReadingOptions:
        """Return the reading of a run's settings, which have what is not the default."""
        return cls(settings.get("max_answer", cls.max_answer), settings.get("windows", cls.windows))


USUAL = ReadingOptions()
"""The paper's: texts are cut, answers have at most 64 tokens."""
