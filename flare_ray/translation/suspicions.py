"""What is suspicious about a translation beside its original: omissions, additions, loops of marks, the wrong script.

    expected = LengthRatio.of(pairs, "eng_Latn", "swh_Latn")
    suspicions("First. Second. Third. Fourth.", "Ya kwanza.", expected)     # ["short", "sentences"]

Lengths are compared with what is usual for the pair of languages: the median over the pairs at hand, or the density
of the two scripts where there are few pairs, or where the median is so far from it that the translator must be wrong
as a rule. Nothing here depends on who translated, so that it says the same of translations made long ago.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import regex

from flare_ray.core.languages import script_of
from flare_ray.translation.checkpoints import flores_code
from flare_ray.translation.sentences import count

_ENOUGH = 40
"""Pairs from which a median is taken."""
_FAR = 1.8
"""Factor between the median and the scripts' density from which the density is taken."""
_SHORT, _LONG = 0.45, 2.2
"""Factors of the expected length between which a translation is ordinary."""
_SLACK_SHORT, _SLACK_LONG = 12.0, 25.0
"""Characters of Latin script by which a translation may be shorter or longer than that: short texts vary more."""
_SENTENCES = 3
_KEPT_SENTENCES, _KEPT_LENGTH = 0.5, 0.7
"""Shares of sentences and of expected length, both missed by a translation that leaves sentences out."""
_LOOP = 12
"""Signs without a letter or digit, of at most two kinds, that stand in a row."""
_SHORT_LOOP = 4
"""Signs in a row where nothing else is written."""
_COMMAS = regex.compile(r"(?:[,;،؛、，；]\s*){6}")
_DENSITY = {
    **dict.fromkeys(("Hans", "Hant"), 0.3),
    **dict.fromkeys(("Jpan", "Hang"), 0.45),
    **dict.fromkeys(("Hebr", "Arab", "Ethi"), 0.8),
}
"""Characters for one of Latin script with the same meaning; 1 for the scripts that are not named."""
_UNICODE_SCRIPTS = {
    "Hans": ("Han",),
    "Hant": ("Han",),
    "Jpan": ("Han", "Hiragana", "Katakana"),
    "Hang": ("Hangul",),
}
_WRITTEN = 0.5
"""Least share of the new letters that must be of the language's script."""
_FEW_LETTERS = 4
_LETTERS_WITH_KANA = 15
"""Letters of a Japanese text, of which some are kana; without any it is Chinese."""
_KANA = regex.compile(r"\p{Script=Hiragana}|\p{Script=Katakana}")
_WORD_SIGNS = regex.compile(r"[\p{L}\p{M}\p{N}]")
_MARKS = re.compile(r"(?:[^\w\s])(?:\s*[^\w\s])*")


@dataclass(frozen=True)
class LengthRatio:
    """The usual length of a translation. ratio: characters for one of the original; pairs: it is the median of.

    source, target: FLORES-200 codes, "" where a language has none.
    """

    ratio: float
    pairs: int
    source: str
    target: str

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], source: str, target: str) -> LengthRatio:
        """Measure originals and translations. source, target: languages by any name or code."""
        source, target = flores_code(source), flores_code(target)
        density = _density(target) / _density(source)
        ratios = [
            _length(translation) / _length(text)
            for text, translation in pairs
            if _length(text) >= _SLACK_SHORT and _length(translation)
        ]
        if len(ratios) < _ENOUGH:
            return cls(density, 0, source, target)
        usual = median(ratios)
        if not density / _FAR < usual < density * _FAR:
            return cls(density, 0, source, target)
        return cls(usual, len(ratios), source, target)


def suspicions(text: str, translation: str, expected: LengthRatio) -> list[str]:
    """Return flags of a translation: `repetition`, `script`, `short`, `long`, `sentences`; none of a blank one."""
    if not translation.strip() or not text.strip():
        return []
    short, long = _lengths(text, translation, expected)
    flags = {
        "repetition": _loops(text, translation),
        "script": _wrong_script(text, translation, expected.target),
        "short": short,
        "long": long,
        "sentences": _lacks_sentences(text, translation, expected),
    }
    return [flag for flag, holds in flags.items() if holds]


def _density(code: str) -> float:
    return _DENSITY.get(script_of(code), 1.0)


def _length(text: str) -> int:
    """Return the number of letters, digits and combining marks: no blanks, no punctuation, no emoji."""
    return len(_WORD_SIGNS.findall(text))


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _lengths(text: str, translation: str, expected: LengthRatio) -> tuple[bool, bool]:
    """Report whether a translation is too short and too long."""
    density = _density(expected.target)
    usual, length = _length(text) * expected.ratio, _length(translation)
    short = length < _SHORT * usual - _SLACK_SHORT * density or (not length and _has_letter(text))
    return short, length > _LONG * usual + _SLACK_LONG * density


def _lacks_sentences(text: str, translation: str, expected: LengthRatio) -> bool:
    """Report whether a translation has too few sentences and is shorter for it: joined sentences are as long."""
    sentences = count(text)
    if sentences < _SENTENCES or count(translation) > _KEPT_SENTENCES * sentences:
        return False
    return _length(translation) < _KEPT_LENGTH * _length(text) * expected.ratio


def _loops(text: str, translation: str) -> bool:
    """Report whether punctuation marks repeat, and do not do so in the original.

    Commas and semicolons repeat in no text, and no text is made of marks alone: few of them are a loop.
    """
    longest = _longest_loop(translation)
    if longest <= 3 * _longest_loop(text):
        return False
    if not _length(translation) and _has_letter(text):
        return longest >= _SHORT_LOOP
    return longest >= _LOOP or _COMMAS.search(translation) is not None


def _longest_loop(text: str) -> int:
    """Return the length of the longest row of marks of at most two kinds, blanks between them not counted."""
    rows = ("".join(row.split()) for row in _MARKS.findall(text))
    return max((len(row) for row in rows if len(set(row)) <= 2 and row.isprintable()), default=0)


def _wrong_script(text: str, translation: str, target: str) -> bool:
    """Report whether most letters are of another script than the language's. Words of the original may stay."""
    if not target:
        return False
    scripts = _UNICODE_SCRIPTS.get(script_of(target), (script_of(target),))
    known_words = set(_words(text))
    letters = [
        sign for word in _words(translation) if word not in known_words for sign in word if sign.isalpha()
    ]
    letters = [sign for sign in letters if not _COMMON.match(sign)]
    if len(letters) < _FEW_LETTERS:
        return False
    if script_of(target) == "Jpan" and len(letters) >= _LETTERS_WITH_KANA and not _KANA.search(translation):
        return True
    written = regex.compile("|".join(rf"\p{{Script={script}}}" for script in scripts))
    return sum(written.match(sign) is not None for sign in letters) < _WRITTEN * len(letters)


_COMMON = regex.compile(r"\p{Script=Common}|\p{Script=Inherited}")


def _words(text: str) -> list[str]:
    return [word.casefold() for word in regex.findall(r"\w+", text)]
