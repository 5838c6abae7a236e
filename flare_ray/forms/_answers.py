"""Which gold answers a model can give at all: those that it reads, within the longest answer.

What is counted here is a ceiling of exact match: whatever is trained, it cannot pass it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flare_ray.plain_text import encode_text
from flare_ray.tasks._scores import normalised

NOT_IN_PROMPT = "answer not in the prompt"
TOO_LONG = "answer longer than max_answer"
NO_SPAN = "answer no span can give"
REASONS = (NOT_IN_PROMPT, TOO_LONG, NO_SPAN)
"""Reasons why no prediction can be an exact match, as they are counted in records."""

_EDGES = string.whitespace + string.punctuation


def ceiling_text(language: str, lost: int, rows: int) -> str:
    """Return a language's lost rows and the exact match that they leave, for people."""
    return f"{language} {lost:,} of {rows:,} rows (exact match cannot pass {100 * (1 - lost / rows):.1f})"


def is_read(answers: Iterable[Mapping[str, Any]], texts: Sequence[str]) -> bool:
    """Return whether some gold answer stands in one of the texts that a model reads."""
    return any(answer["text"].strip() in text for answer in answers for text in texts)


def fits(answers: Iterable[Mapping[str, Any]], tokenizer: Any, longest: int) -> bool:
    """Return whether some gold answer has at most `longest` tokens, punctuation around it left out."""
    texts = [answer["text"].strip(_EDGES) for answer in answers]
    encoded = encode_text(tokenizer, texts, add_special_tokens=False)["input_ids"]
    return any(len(ids) <= longest for ids in encoded)


def covering(offsets: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """Return the first and last token that cover characters; (0, 0) when a window does not hold all of them.

    offsets: int [tokens, 2], characters of the context, -1 outside of it.
    """
    real = np.flatnonzero((offsets[:, 0] >= 0) & (offsets[:, 1] > offsets[:, 0]))
    if not len(real) or offsets[real[0], 0] > start or offsets[real[-1], 1] < end:
        return 0, 0
    first = real[np.searchsorted(offsets[real, 1], start, side="right")]
    last = real[np.searchsorted(offsets[real, 0], end, side="left") - 1]
    return (int(first), int(last)) if first <= last else (0, 0)


def spans_give(
    context: str, answers: Iterable[Mapping[str, Any]], windows: Sequence[np.ndarray], longest: int
) -> bool:
    """Return whether a span of at most `longest` tokens scores as an exact match of some gold answer.

    windows: offsets, int [tokens, 2], of each window of the context.
    """
    for answer in answers:
        gold = normalised(answer["text"])
        for start, end in _places(context, answer):
            for offsets in windows:
                first, last = covering(offsets, start, end)
                if (first, last) == (0, 0) or last - first >= longest:
                    continue
                if normalised(context[offsets[first, 0] : offsets[last, 1]]) == gold:
                    return True
    return False


def _places(context: str, answer: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield where an answer stands in its context: its own place first, then each place of what is scored of it."""
    yield answer["start"], answer["start"] + len(answer["text"])
    stripped = answer["text"].strip(_EDGES)
    for text in dict.fromkeys([stripped, re.sub(r"^(a|an|the)\s+", "", stripped, flags=re.IGNORECASE)]):
        if text:
            for match in re.finditer(re.escape(text), context, re.IGNORECASE):
                yield match.span()
