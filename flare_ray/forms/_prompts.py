"""Which tokens of a prompt a generating model reads where it is too long: a part of its texts, or windows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_ray.forms._graphemes import with_marks
from flare_ray.tasks.base import Task

_PLACE = "\0"  # stands for a text where its place in the prompt is wanted
_LEAST = 4  # tokens of a context in a window


@dataclass(frozen=True)
class Prompt:
    """A prompt and its tokens. offsets: int [tokens, 2], characters of the prompt."""

    task: Task
    row: Mapping[str, Any]
    offsets: np.ndarray

    def begin(self, column: str) -> int:
        """Return where a text begins in the prompt."""
        return self.task.prompt({**self.row, column: _PLACE}).index(_PLACE)

    def tokens_of(self, column: str) -> np.ndarray:
        """Return which tokens are a text's, [its tokens]."""
        begin = self.begin(column)
        end, offsets = begin + len(self.row[column]), self.offsets
        return np.flatnonzero((offsets[:, 0] >= begin) & (offsets[:, 1] <= end) & (offsets[:, 1] > 0))

    def cut(self, limit: int, training: bool) -> np.ndarray:
        """Return which tokens stay, bool [tokens]: all, or as many of the texts as `limit` allows.

        The first text is cut first. In training the answer is kept, in the middle where there is room.
        """
        keep = np.ones(len(self.offsets), bool)
        for column in self.task.text_columns:
            excess = int(keep.sum()) - limit
            if excess <= 0:
                break
            column_tokens = self.tokens_of(column)
            excess = min(excess, len(column_tokens))
            first = 0
            if training and column == self.task.text_columns[0] and self.row.get("answers"):
                token = int(np.searchsorted(self.offsets[column_tokens, 0], self.middle()))
                first = min(excess, max(0, token - (len(column_tokens) - excess) // 2))
            keep[column_tokens] = False
            keep[column_tokens[first : first + len(column_tokens) - excess]] = True
        return keep

    def middle(self) -> int:
        """Return the character of the prompt in the middle of the first gold answer."""
        answer = self.row["answers"][0]
        return int(self.begin(self.task.text_columns[0]) + answer["start"] + len(answer["text"]) // 2)

    def windows(self, limit: int) -> list[np.ndarray]:
        """Return the windows of the first text, each a prompt of at most `limit` tokens: bool [tokens] for each.

        Neighbours share a quarter of `limit`, at most half of their text; the last one ends with the text. The
        other text is cut where it leaves less than a quarter. Raises ValueError for a `limit` that leaves the first
        text no room.
        """
        frame = np.ones(len(self.offsets), bool)
        first, *others = [self.tokens_of(column) for column in self.task.text_columns]
        frame[first] = False
        for other in others:
            excess = int(frame.sum()) + limit // 4 - limit
            if excess > 0:
                frame[other[max(0, len(other) - excess) :]] = False
        room = limit - int(frame.sum())
        if room < min(_LEAST, len(first)):
            raise ValueError(
                f"{limit} tokens leave a context no room beside its question: a larger max_length"
            )
        step = room - min(limit // 4, room // 2)
        last = max(0, len(first) - room)
        masks = []
        for start in [*range(0, last, step), last]:
            mask = frame.copy()
            mask[first[start : start + room]] = True
            masks.append(mask)
        return masks

    def best_window(self, masks: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the window that holds the first gold answer with most context around it; None where none does."""
        answer = self.row["answers"][0]
        start, end = answer["start"], answer["start"] + len(answer["text"])
        shown = [self.characters(self.task.text_columns[0], mask) for mask in masks]
        around = [min(start - begin, stop - end) for begin, stop in shown]
        best = int(np.argmax(around))
        return masks[best] if around[best] >= 0 else None

    def texts(self, mask: np.ndarray) -> list[str]:
        """Return the parts of the texts that a cut prompt shows."""
        parts = []
        for column in self.task.text_columns:
            text, column_tokens = self.row[column], self.tokens_of(column)
            begin, end = self.characters(column, mask)
            parts.append(text[begin:end])
            if len(column_tokens):  # a word whose token has a character of the prompt around it too
                edges = self.offsets[column_tokens] - self.begin(column)
                parts += [text[: edges[0, 0]], text[edges[-1, 1] :]]
        return parts

    def characters(self, column: str, mask: np.ndarray) -> tuple[int, int]:
        """Return which characters of a text a cut prompt shows: begin and end."""
        text, column_tokens = self.row[column], self.tokens_of(column)
        shown = np.flatnonzero(mask[column_tokens])
        if len(shown) == len(column_tokens):
            return 0, len(text)
        if not len(shown):
            return 0, 0
        (offsets,) = with_marks(text, [self.offsets[column_tokens] - self.begin(column)])
        begin = 0 if shown[0] == 0 else int(offsets[shown, 0].min())
        return begin, len(text) if shown[-1] == len(column_tokens) - 1 else int(offsets[shown, 1].max())
