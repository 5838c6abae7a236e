"""Answers found again after translation, by markers around them (EasyProject, Chen et al., 2023; paper, section 4).

>>> marked = enclose("anna lives in arden.", [Span(14, 19)], "brackets")
>>> marked
'anna lives in [arden].'
>>> recover("[arden] est la ville d'anna.", 1, "brackets")
Recovered(text="arden est la ville d'anna.", spans=(Span(start=0, end=5),))

A style is used only where its characters are not in the text already, and an answer counts as found only when each
marker is there exactly once and in order: text of one's own never confuses it, and half a pair is no answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

STYLES = ("brackets", "angles", "tags", "quotes")
"""In the order in which they are tried: square brackets are rare in prose and pass through NLLB most often; quotes,
which the paper's released code uses, are the most common in texts of their own."""

_SIGNS = {"brackets": ("[［【", "]］】"), "angles": ("<＜〈", ">＞〉"), "quotes": ('"“„«「', '"”“»」')}
"""Opening and closing signs: the first is written, the others are what translation may make of it."""
_TAGS = "abcdefghijklmnopqrstuvwxyz"
_TAG = re.compile(r"[<＜]\s*([/／]?)\s*([a-zA-Z])\s*[>＞]")


@dataclass(frozen=True)
class Span:
    """Code points of a text, the end exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class Recovered:
    """A translation without its markers, and where the answers stand in it, in the order that they were given."""

    text: str
    spans: tuple[Span, ...]


def distinct(spans: Sequence[Span]) -> list[Span]:
    """Each span once, without those that overlap one before them: gold answers repeat and overlap."""
    kept: list[Span] = []
    for span in spans:
        if span.start < span.end and all(span.end <= one.start or one.end <= span.start for one in kept):
            kept.append(span)
    return kept


def enclose(context: str, spans: Sequence[Span], style: str) -> str | None:
    """The context with markers around each span; None where the style cannot be used on it.

    Only tags tell several answers apart.
    """
    if not spans or (style == "tags" and len(spans) > len(_TAGS)) or (style != "tags" and len(spans) > 1):
        return None
    taken = "<＜" if style == "tags" else "".join(_SIGNS[style])
    if any(sign in context for sign in taken):
        return None
    text = context
    for number, span in sorted(enumerate(spans), key=lambda item: -item[1].start):
        opening, closing = _markers(style, number)
        text = text[: span.start] + opening + text[span.start : span.end] + closing + text[span.end :]
    return text


def recover(translated: str, count: int, style: str) -> Recovered | None:
    """The answers of a translation of `enclose`'s text; None when a marker is lost, doubled or misplaced."""
    found = _tags(translated, count) if style == "tags" else _signs(translated, style)
    if found is None:
        return None
    marks = sorted((mark for pair in found for mark in pair), key=lambda mark: mark.start)
    text, shift = _without(translated, marks)
    spans = [Span(shift[opening.end], shift[closing.start]) for opening, closing in found]
    trimmed = [_trimmed(text, span) for span in spans]
    whole = [span for span in trimmed if span is not None and _starts_a_letter(text, span)]
    return Recovered(text, tuple(whole)) if len(whole) == count else None


def find(text: str, answer: str) -> Span | None:
    """Where an answer that was translated by itself stands; None unless it is one place, whole words if it has words."""
    answer = answer.strip().rstrip(".。")
    if not answer:
        return None
    for flags in (0, re.IGNORECASE):
        matches = list(re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", text, flags))
        if not matches and not _spaced(text):
            matches = list(re.finditer(re.escape(answer), text, flags))
        if matches:
            return Span(*matches[0].span()) if len(matches) == 1 else None
    return None


def _markers(style: str, number: int) -> tuple[str, str]:
    if style == "tags":
        return f"<{_TAGS[number]}>", f"</{_TAGS[number]}>"
    opening, closing = _SIGNS[style]
    return opening[0], closing[0]


def _signs(text: str, style: str) -> list[tuple[Span, Span]] | None:
    """The one pair of signs; of any two quotes the first opens."""
    opening, closing = _SIGNS[style]
    places = [place for place, sign in enumerate(text) if sign in opening + closing]
    if len(places) != 2 or text[places[0]] not in opening or text[places[1]] not in closing:
        return None
    first, second = (Span(place, place + 1) for place in places)
    return [(first, second)]


def _tags(text: str, count: int) -> list[tuple[Span, Span]] | None:
    """Each answer's pair of tags, one behind the other and none within another."""
    found = [(match[2].lower(), bool(match[1]), Span(*match.span())) for match in _TAG.finditer(text)]
    if len(found) != 2 * count or sum(text.count(sign) for sign in "<＜") != len(found):
        return None
    pairs: dict[str, tuple[Span, Span]] = {}
    for (name, closes, span), (last_name, last_closes, last) in zip(found[::2], found[1::2], strict=True):
        if name != last_name or closes or not last_closes or name in pairs:
            return None
        pairs[name] = (span, last)
    wanted = _TAGS[:count]
    return [pairs[name] for name in wanted] if sorted(pairs) == sorted(wanted) else None


def _without(text: str, marks: Sequence[Span]) -> tuple[str, list[int]]:
    """The text without the marks and the blanks that they leave doubled; where each old place is now."""
    kept: list[str] = []
    shift: list[int] = []
    inside = {place for mark in marks for place in range(mark.start, mark.end)}
    after_mark = False
    for place, sign in enumerate(text):
        shift.append(len(kept))
        if place in inside:
            after_mark = True
            continue
        doubled = after_mark and sign == " " and (not kept or kept[-1] == " ")
        after_mark = after_mark and sign == " "
        if not doubled:
            kept.append(sign)
    shift.append(len(kept))
    return "".join(kept), shift


def _trimmed(text: str, span: Span) -> Span | None:
    part = text[span.start : span.end]
    start = span.start + len(part) - len(part.lstrip())
    end = start + len(part.strip())
    return Span(start, end) if start < end else None


def _starts_a_letter(text: str, span: Span) -> bool:
    """Whether neither end cuts a letter from its combining marks."""
    return not any(
        place < len(text) and unicodedata.combining(text[place]) for place in (span.start, span.end)
    )


def _spaced(text: str) -> bool:
    """Whether the script has spaces between words."""
    return text.count(" ") * 15 > len(text)
