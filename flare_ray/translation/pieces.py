"""Texts that are longer than a translator reads: cut at the ends of sentences, and put together again.

>>> cut("One. Two three.  Four.", lambda text: len(text) <= 15)
[('One. Two three.', '  '), ('Four.', '')]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_ENDS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？؟۔।॥])\s*|\s*\n\s*")
_BLANK = re.compile(r"\s+")

Piece = tuple[str, str]
"""A piece and the blank space behind it."""


def cut(text: str, fits: Callable[[str], bool]) -> list[Piece]:
    """Pieces that fit, as long as they can be; joined with their spaces they are the text again.

    A sentence that does not fit by itself is cut at a space, and where there is none anywhere.
    """
    if fits(text):
        return [(text, "")]
    atoms = [atom for piece in _split(text, _ENDS) for atom in _fitting(piece, fits)]
    return list(_joined(atoms, fits))


def join(pieces: list[str], spaces: list[str]) -> str:
    """The pieces' translations with the spaces of the originals."""
    return "".join(piece + space for piece, space in zip(pieces, spaces, strict=True))


def _split(text: str, at: re.Pattern[str]) -> Iterator[Piece]:
    start = 0
    for gap in at.finditer(text):
        if gap.start() > start and gap.end() < len(text):
            yield text[start : gap.start()], gap.group()
            start = gap.end()
    yield text[start:], ""


def _fitting(piece: Piece, fits: Callable[[str], bool]) -> Iterator[Piece]:
    """A sentence, or its words and parts of words."""
    text, space = piece
    if fits(text):
        yield piece
        return
    words = list(_split(text, _BLANK))
    if len(words) > 1:
        words[-1] = (words[-1][0], space)
        for word in words:
            yield from _fitting(word, fits)
    elif len(text) > 1:
        half = len(text) // 2
        yield from _fitting((text[:half], ""), fits)
        yield from _fitting((text[half:], space), fits)
    else:
        yield piece


def _joined(atoms: list[Piece], fits: Callable[[str], bool]) -> Iterator[Piece]:
    """Neighbours together, as many as fit."""
    whole, space = atoms[0]
    for text, next_space in atoms[1:]:
        longer = whole + space + text
        if fits(longer):
            whole, space = longer, next_space
        else:
            yield whole, space
            whole, space = text, next_space
    yield whole, space
