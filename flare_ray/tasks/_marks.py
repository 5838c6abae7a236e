"""Characters that belong to the one before them, and texts in which a tokenizer may leave them without a token."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_HALF_WIDTH_MARKS = "\uff9e\uff9f"


def continues_grapheme(character: str) -> bool:
    """Return whether a character belongs to the one before it: a mark, or a Hangul vowel or final consonant."""
    if character.isascii():
        return False
    hangul = "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb"
    return hangul or character in _HALF_WIDTH_MARKS or unicodedata.category(character)[0] == "M"


def has_loose_marks(text: str, strips_accents: bool = False) -> bool:
    """Return whether tokens may end before a letter's last mark: a tokenizer composes it with its letter.

    strips_accents: whether the tokenizer may drop marks that composed text has too.
    """
    if text.isascii() or not any(map(continues_grapheme, set(text))):
        return False
    if strips_accents or any(mark in text for mark in _HALF_WIDTH_MARKS):
        return True
    return not unicodedata.is_normalized("NFC", text) and any(map(_is_shortened, _letters(text)))


def _letters(text: str) -> Iterator[str]:
    """Yield each character together with those that belong to it."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not continues_grapheme(text[place]):
            yield text[start:place]
            start = place


def _is_shortened(letter: str) -> bool:
    """Return whether composition takes a mark away; marks in another order are none."""
    return len(letter) > 1 and len(unicodedata.normalize("NFC", letter)) < len(letter)
