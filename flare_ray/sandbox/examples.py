"""Pretraining lines as token ids, with the tokens that matter most: those of a line's closing.

Encoders see documents laid out as tasks lay them out: premise and hypothesis as a pair, question and context
as a pair. The closing of a document (its verdict, its answer) is what needs all the rest to be predicted, so
objectives always hide it ("salient spans", Guu et al., 2020), where chance would mostly hide fillers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from flare_ray.sandbox.text import Line

RETOLD = 0.6
"""Share of a retelling's tokens that are salient; the others tell which fact is retold."""


@dataclass(frozen=True)
class Example:
    """Token ids, special tokens included, and for each whether it belongs to the closing."""

    ids: list[int]
    salient: list[bool]

    def __len__(self) -> int:
        return len(self.ids)


def layout(line: Line) -> tuple[str, str | None, int, str]:
    """First text, second text, number of the text that holds the closing, and the closing."""
    if line.translation is not None:
        return line.text, line.translation.text, 0, ""
    if line.kind in ("interview", "retelling"):
        return f"{line.asked} {line.closing}".lstrip(), line.told, 0, line.closing
    if line.kind == "argument":
        return line.told, f"{line.asked} {line.closing}", 1, line.closing
    return line.text, None, 0, line.closing


def encode(lines: Sequence[Line], tokenizer: Any, seed: int) -> list[Example]:
    """One example per line, in the order of the lines; of a retelling, chance picks what is salient."""
    draw = Random(seed)
    made: list[Example] = []
    for line in lines:
        first, second, part, closing = layout(line)
        encoding = tokenizer(first, second, return_offsets_mapping=True)
        begins = len((first, second or "")[part]) - len(closing)
        salient = [
            bool(closing)
            and sequence == part
            and end > begins
            and (line.kind != "retelling" or draw.random() < RETOLD)
            for sequence, (_, end) in zip(encoding.sequence_ids(0), encoding.offset_mapping, strict=True)
        ]
        made.append(Example(encoding.input_ids, salient))
    return made
