"""Answers found again after translation, by markers around them (EasyProject, Chen et al., 2023; paper, section 4).

>>> marked = enclose("anna lives in arden.", [Span(14, 19)], "brackets")
>>> marked
'anna lives in [arden].'
>>> recover("[arden] est la ville d'anna.", 1, "brackets")
Recovered(text="arden est la ville d'anna.", spans=(Span(start=0, end=5),))

A style is used only on a text that has none of its signs, in no form that a tokenizer may turn into them; and an
answer counts as found only when the translation has each marker exactly once and in order, and no sign of the style
beside them. So a text's own quotes and brackets never confuse it, and half a pair is no answer. What cannot be seen
here: a translator that drops both markers and writes such a pair of its own elsewhere, or moves a marker.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple, Protocol

from flare_ray.registry import wanted


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


class Mark(NamedTuple):
    """A marker in a translation: of which answer, counted from 0; whether it closes; where it stands."""

    number: int
    closes: bool
    start: int
    end: int


class Style(Protocol):
    """A way to mark answers."""

    most: int
    """Answers that it can tell apart in one text."""

    def markers(self, number: int) -> tuple[str, str]:
        """Opening and closing marker of an answer, counted from 0."""

    def clashes(self, context: str) -> bool:
        """Whether a text has signs of its own that could be taken for markers, now or once translated."""

    def read(self, translated: str) -> list[Mark] | None:
        """The markers in the order of the text; None when there are signs of the style that are no marker."""


class _Pair:
    """One pair of signs around the only answer. pairs: what counts as it, two signs each; the first is written."""

    most = 1

    def __init__(self, pairs: Sequence[str], clashing: str):
        self.pairs = pairs
        self.signs = frozenset("".join(pairs))
        self.clashing = re.compile(f"[{re.escape(''.join(sorted(self.signs)))}]|{clashing}")

    def markers(self, number: int) -> tuple[str, str]:
        return self.pairs[0][0], self.pairs[0][1]

    def clashes(self, context: str) -> bool:
        return any(self.clashing.search(form) for form in _forms(context))

    def read(self, translated: str) -> list[Mark] | None:
        places = [place for place, sign in enumerate(translated) if sign in self.signs]
        if "".join(translated[place] for place in places) not in self.pairs:
            return None
        return [
            Mark(0, closes, place, place + 1) for closes, place in zip((False, True), places, strict=True)
        ]


class _Tags:
    """`<a>` and `</a>` around the first answer, `<b>` and `</b>` around the second: they survive reordering."""

    names = "abcdefghijklmnopqrstuvwxyz"
    most = len(names)
    tag = re.compile(r"[<＜〈\u2329⟨]\s*([/／]?)\s*(\w)\s*[>＞〉\u232a⟩]")
    alphabets = str.maketrans("абαβ", "abab")

    def __init__(self, angles: _Pair):
        self.angles = angles

    def markers(self, number: int) -> tuple[str, str]:
        return f"<{self.names[number]}>", f"</{self.names[number]}>"

    def clashes(self, context: str) -> bool:
        return self.angles.clashes(context)

    def read(self, translated: str) -> list[Mark] | None:
        if not self.angles.signs.isdisjoint(self.tag.sub("", translated)):
            return None
        marks = []
        for found in self.tag.finditer(translated):
            name = unicodedata.normalize("NFKC", found[2]).lower().translate(self.alphabets)
            marks.append(Mark(self.names.find(name), bool(found[1]), *found.span()))
        return marks


def _pairs(opening: str, closing: str) -> list[str]:
    return ["".join(pair) for pair in product(opening, closing)]


_ANGLES = _Pair(_pairs("<＜〈\u2329⟨", ">＞〉\u232a⟩"), "[«»‹›《》≪≫]")
_QUOTES = ['""', "“”", "„“", "„”", "””", "‟”", "«»", "»«", "»»", "「」", "『』", "＂＂"]
_SINGLE_QUOTES = r"[′″]|(?<!\w)['’‘‚‛`´]|['’‘`´](?!\w)"  # which translation may double
_STYLES: dict[str, Style] = {
    "brackets": _Pair(_pairs("[［【〔", "]］】〕"), "[﹇﹈〖〗⟦⟧]"),
    "angles": _ANGLES,
    "tags": _Tags(_ANGLES),
    "quotes": _Pair(_QUOTES, _SINGLE_QUOTES),
}
STYLES = tuple(_STYLES)
"""In the order in which they are tried. EasyProject fine-tuned NLLB on square brackets, so they come first; but many
texts have some ([1] in two of three English passages of TyDiQA), and hardly any have angles. Tags are longer, and
the only ones for several answers. Quotes, the mark of the paper's released code, come last: many texts have their
own, and translators add and drop them freely. Neither they nor parentheses count as a form of brackets: a
translation has them for reasons of its own."""


def distinct(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans that can be marked together, in order: dropped are empty ones and those that overlap one before them.

    Gold answers of SQuAD files repeat and overlap ("Arden", "in Arden"); the first is what a model is trained on.
    """
    kept: list[Span] = []
    for span in spans:
        if span.start < span.end and all(span.end <= one.start or one.end <= span.start for one in kept):
            kept.append(span)
    return tuple(kept)


def enclose(context: str, spans: Sequence[Span], style: str) -> str | None:
    """The context with markers around each span; None where the style cannot be used on it.

    It cannot when the context has signs that could be taken for the style's, or there are more spans than it tells
    apart, or none. A span loses blank space at its ends and takes in combining marks that it would cut off: an
    answer "কলকাতা" within "কলকাতায়" stays, one that ends before a vowel sign gets it. None also when nothing is left
    of a span, or two overlap. Raises ValueError for a span outside of the context, or an unknown style.
    """
    used = _style(style)
    if not 0 < len(spans) <= used.most or used.clashes(context):
        return None
    whole = [_whole(context, span) for span in spans]
    placed = sorted((span.start, span.end, number) for number, span in enumerate(whole) if span)
    if len(placed) < len(spans) or any(one[1] > two[0] for one, two in pairwise(placed)):
        return None
    parts, last = [], 0
    for start, end, number in placed:
        opening, closing = used.markers(number)
        parts += [context[last:start], opening, context[start:end], closing]
        last = end
    return "".join([*parts, context[last:]])


def recover(translated: str, count: int, style: str) -> Recovered | None:
    """The `count` answers in a translation of `enclose`'s text, and the translation without markers.

    None when a marker is lost, doubled, misplaced or within another's, or nothing but blank space is between two. A
    span is what stood between its markers without blank space at the ends, and with combining marks that follow the
    closing one. Blank space within a marker goes, except between words that it alone keeps apart. Raises ValueError
    for an unknown style.
    """
    marks = _style(style).read(translated)
    if marks is None or not _in_order(marks, count):
        return None
    text, last, found = "", 0, dict[int, Span]()
    ends = [mark.start for mark in marks[2::2]] + [len(translated)]
    for opening, closing, end in zip(marks[::2], marks[1::2], ends, strict=True):
        text += translated[last : opening.start]
        before, answer, behind = _trim(translated[opening.end : closing.start])
        text += before[:1] if _is_word(text[-1:]) else ""
        if not answer or _combines(answer[0]) or _joined(text + answer, len(text)):
            return None
        rest = translated[closing.end : end]
        more = _more(answer, rest)
        if more and behind:
            return None
        answer += rest[:more]
        found[opening.number] = Span(len(text), len(text) + len(answer))
        apart = _is_word(rest[:1]) or (not rest and end < len(translated))
        text += answer + (behind[:1] if apart else "")
        last = closing.end + more
    return Recovered(text + translated[last:], tuple(found[number] for number in range(count)))


def find(text: str, answer: str) -> Span | None:
    """Where an answer stands that was translated by itself; None unless that is one place only.

    Whole words, in scripts that have spaces between them. If it stands nowhere so, without the full stop that a
    translator puts behind a short text; if still nowhere, with other capitals.
    """
    answer = _trim(answer)[1]
    bare = answer.rstrip(".。।۔")
    for flags, wanted_text in product((re.NOFLAG, re.IGNORECASE), dict.fromkeys((answer, bare))):
        places = list(_places(text, wanted_text, flags))
        if places:
            return places[0] if len(places) == 1 else None
    return None


def _style(name: str) -> Style:
    if name not in _STYLES:
        raise ValueError(f"unknown style of markers {name!r}; wanted {wanted(name, STYLES)}")
    return _STYLES[name]


def _forms(text: str) -> Iterator[str]:
    """The text, and what tokenizers (NFKC, as NLLB's) and web text (entities) make of it."""
    yield text
    yield unicodedata.normalize("NFKC", html.unescape(text))


def _in_order(marks: Sequence[Mark], count: int) -> bool:
    """Whether each answer's two markers follow one another, each answer's once."""
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    if len(marks) != 2 * count or sorted(mark.number for mark in marks[::2]) != list(range(count)):
        return False
    return all(
        one.number == two.number and two.closes and not one.closes and one.end <= two.start
        for one, two in pairs
    )


_ZWJ = "\u200d"
_BLANK = r"[\s\u200b\u200e\u200f\u2060\ufeff]*"
_TRIMMED = re.compile(f"({_BLANK})(.*?)({_BLANK})", re.DOTALL)
# beside combining marks: joiners, the vowel signs of Thai and Lao, parts of Hangul syllables, skin tones, flag tags
_JOINS = re.compile("[\u200d\u0e33\u0eb3\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
# Thai, Lao, Tibetan, Myanmar; Khmer; kana, bopomofo, Han
_UNSPACED = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u3040-\u312f\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def _trim(text: str) -> tuple[str, str, str]:
    """Blank space before, the rest, and blank space behind."""
    parts = _TRIMMED.fullmatch(text)
    assert parts is not None
    return parts[1], parts[2], parts[3]


def _combines(sign: str) -> bool:
    """Whether it belongs to the sign before it."""
    return unicodedata.category(sign)[0] == "M" or _JOINS.match(sign) is not None


def _joined(text: str, place: int) -> bool:
    """Whether a cut there parts signs that are read as one."""
    if not 0 < place < len(text):
        return False
    return _combines(text[place]) or (text[place - 1] == _ZWJ and not text[place].isspace())


def _more(answer: str, rest: str) -> int:
    """Signs of the rest that belong to the answer's last letter."""
    more = 0
    while more < len(rest) and _joined(answer[-1] + rest[: more + 1], more + 1):
        more += 1
    return more


def _whole(text: str, span: Span) -> Span | None:
    """The span without blank space at its ends, and with all of its first and last letters; None if it has none."""
    if not 0 <= span.start <= span.end <= len(text):
        raise ValueError(f"{span} in a text of {len(text)} code points")
    before, answer, _ = _trim(text[span.start : span.end])
    start = span.start + len(before)
    end = start + len(answer)
    while answer and _joined(text, start):
        start -= 1
    while answer and _joined(text, end):
        end += 1
    kept = text[start:end]
    return Span(start, end) if kept and kept == _trim(kept)[1] and not _combines(kept[0]) else None


def _is_word(sign: str) -> bool:
    return bool(sign) and (sign.isalnum() or unicodedata.category(sign)[0] == "M")


def _bounded(text: str, place: int) -> bool:
    """Whether a word may begin or end there."""
    before, behind = text[max(0, place - 1) : place], text[place : place + 1]
    if _joined(text, place):
        return False
    unspaced = _UNSPACED.match(before) or _UNSPACED.match(behind)
    return bool(unspaced) or not (_is_word(before) and _is_word(behind))


def _places(text: str, answer: str, flags: re.RegexFlag) -> Iterator[Span]:
    if not answer:
        return
    for match in re.finditer(f"(?=({re.escape(answer)}))", text, flags):
        if _bounded(text, match.start(1)) and _bounded(text, match.end(1)):
            yield Span(*match.span(1))
