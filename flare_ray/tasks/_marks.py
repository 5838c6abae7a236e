"""Characters that belong to the one before them, and texts in which a tokenizer may leave them without a token."""

from __future__ import annotations

import unicodedata

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
    loose = any(mark in text for mark in _HALF_WIDTH_MARKS)
    return loose or strips_accents or not unicodedata.is_normalized("NFC", text)
