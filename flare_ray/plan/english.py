"""Which English a split is read with: the one rule for the check, the plan and the run.

A row of the target language stands beside an English row of the same id. In training it is the corpus's own, of which
the target's row is a translation; at test it is what the sweep's `translation` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

English = Literal["none", "own", "beside", "machine"]
"""No English; the corpus's own English split; the file beside the split (`sw.test.english.tsv`); the model."""
Reads = Mapping[str, frozenset[English]]
"""Split of the target language that is read as the data has it -> the English that it is read with."""

PAIRED: Reads = {split: frozenset({"own"}) for split in ("train", "validation", "test")}
"""Every split, each with the corpus's own English: `translation: gold`."""


def english_of(split: str, *, reads_source: bool, source_at_test: str, translation: str) -> English:
    """Return the English that a method reads beside a split.

    split: train, validation or test. reads_source: whether the method reads English at all. source_at_test: its
    `translation`, `gold` or `none`. translation: the sweep's, `gold` or `files`; anything else is a model.
    """
    chosen = source_at_test if split == "test" else "gold"
    if not reads_source or chosen == "none":
        return "none"
    if chosen == "gold" or translation == "gold":
        return "own"
    return "beside" if translation == "files" else "machine"
