"""What the sandbox is made of: its languages, its corpora, its models. Facts only; nothing is read or built.

The sandbox is a small constructed world in which a whole study runs offline. Its source language is
"English": an English-like language with a small grammar of our own. Five target languages are derived from
it, each further away than the one before, and each under-represented in pretraining in the same order,
which is the situation the paper is about (section 1).

>>> from flare_ray.sandbox.world import LANGUAGES
>>> [(code, round(language.distance, 2)) for code, language in LANGUAGES.items()]
[('qal', 0.11), ('qbe', 0.38), ('qdo', 0.56), ('qko', 0.75), ('qtu', 1.0)]

Codes come from qaa–qtz, the range that ISO 639 keeps for private use: no real language can have them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal


def _version() -> str:
    """The digest of the code that builds the sandbox: eight hexadecimal digits."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:8]


VERSION: str = _version()
"""Follows from this package's code; enters the cache folder's name and the identity of all that read it."""

SOURCE = "english"
"""Folder name of the source language (its code is ``eng``)."""

TASKS = ("nusax", "xnli", "tydiqa")
"""Folders under ``data/``: sentiment, inference and extractive question answering."""

MODELS: dict[str, dict[str, str]] = {
    name: {"family": family, "folder": f"models/{name}"}
    for name, family in {
        "sandbox-xlm-r": "xlm_roberta",
        "sandbox-mt5": "mt5",
        "sandbox-llama": "llama",
        "sandbox-gemma2": "gemma2",
    }.items()
}
"""Model name → its family and its folder inside the built sandbox."""

TRANSLATORS: dict[str, dict[str, str]] = {"sandbox-nllb": {"folder": "models/sandbox-nllb"}}
"""Translator name → its folder inside the built sandbox. It knows languages by `flores`'s codes."""


@dataclass(frozen=True)
class Syntax:
    """How a language builds a clause. The defaults are English's."""

    order: Literal["SVO", "VSO", "SOV"] = "SVO"
    adjective: Literal["before", "after"] = "before"
    """Where an adjective stands, seen from its noun."""
    adposition: Literal["before", "after"] = "before"
    """Prepositions or postpositions."""
    article: Literal["word", "suffix", "none"] = "word"
    copula: bool = True
    """Whether "was" is a word; without it subject and adjective stand side by side."""
    question: Literal["auxiliary", "particle"] = "auxiliary"
    """"did Anna buy …" against a particle at the clause's edge with the statement's order kept."""
    negation: Literal["word", "affix"] = "word"
    degree: Literal["word", "affix"] = "word"
    """"very good" against good-very."""
    case: bool = False
    """Whether objects carry a case suffix."""

    def difference(self, other: Syntax) -> float:
        """Share of the traits in which two languages differ, 0 to 1."""
        mine = [getattr(self, field.name) for field in fields(self)]
        theirs = [getattr(other, field.name) for field in fields(self)]
        return sum(a != b for a, b in zip(mine, theirs, strict=True)) / len(mine)


@dataclass(frozen=True)
class Language:
    """One language of the sandbox; `lexicon.py` coins its words, `grammar.py` builds its sentences."""

    code: str
    name: str
    description: str
    cognates: float
    """Share of the words that come from English by sound change; the rest are coined."""
    share: float
    """Weight of its lines in the pretraining text; parallel lines (`text.PARALLEL`) come on top."""
    syntax: Syntax = Syntax()
    sounds: tuple[tuple[str, str], ...] = ()
    """Sound changes from English, applied in this order to letters."""
    syllables: tuple[str, str, str] = ("", "", "")
    """Onsets, vowels and codas (each separated by blanks, ``-`` for none) of its own words."""
    affixes: tuple[tuple[str, str], ...] = ()
    """Affix name (past, negation, the, object, very) → its letters; ``-d`` a suffix, ``o-`` a prefix."""

    @property
    def distance(self) -> float:
        """Distance from English, 0 to 1: the mean of the lexicon's and the syntax's difference."""
        return (1 - self.cognates + self.syntax.difference(Syntax())) / 2

    @property
    def folder(self) -> str:
        """Name of its data: the code for a target, ``english`` for the source."""
        return SOURCE if self.code == "eng" else self.code


ENGLISH = Language("eng", "English", "the source", cognates=1.0, share=0.74)

LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language(
            "qal",
            "Alvish",
            "a sister of English: same clause, most words shared after light sound changes",
            cognates=0.78,
            share=0.06,
            sounds=(("th", "t"), ("wh", "v"), ("w", "v"), ("ck", "k"), ("c", "k"), ("ee", "i"), ("oo", "u")),
            syllables=("b d f g h k l m n p r s t v st br", "a e i o u", "- - l n r s t"),
            affixes=(("past", "-ed"),),
        ),
        Language(
            "qbe",
            "Beldan",
            "a cousin: half the words shared, adjectives after the noun, the article is a suffix",
            cognates=0.58,
            share=0.05,
            syntax=Syntax(adjective="after", article="suffix", question="particle"),
            sounds=(("th", "d"), ("sh", "s"), ("w", "u"), ("p", "b"), ("t", "d"), ("y", "i"), ("e", "i")),
            syllables=("b d g j l m n r s v z bl dr", "a e i o u ia", "- - - n r z"),
            affixes=(("past", "-av"), ("the", "-en")),
        ),
        Language(
            "qdo",
            "Dorrin",
            "a distant relative: a third of the words shared, the verb first, no copula",
            cognates=0.33,
            share=0.04,
            syntax=Syntax(order="VSO", adjective="after", copula=False, question="particle"),
            sounds=(("th", "z"), ("c", "x"), ("k", "x"), ("b", "v"), ("f", "v"), ("a", "o"), ("s", "sh")),
            syllables=("d dh g gw l m n r s th w x", "a e o y oa", "- n r s th"),
            affixes=(("past", "ro-"),),
        ),
        Language(
            "qko",
            "Kovari",
            "another family with loan words: the verb last, postpositions, no article, case endings",
            cognates=0.16,
            share=0.03,
            syntax=Syntax(
                order="SOV",
                adposition="after",
                article="none",
                question="particle",
                case=True,
                negation="affix",
            ),
            sounds=(("th", "s"), ("b", "p"), ("d", "t"), ("g", "k"), ("v", "p"), ("o", "ö"), ("w", "vu")),
            syllables=("h j k kk l m n p s t v", "a e i o u ä ö aa", "- - n s k"),
            affixes=(("past", "-ti"), ("object", "-ta"), ("negation", "-ma")),
        ),
        Language(
            "qtu",
            "Tumaki",
            "unrelated: only names are shared; the verb last, and negation and degree are affixes too",
            cognates=0.0,
            share=0.02,
            syntax=Syntax(
                order="SOV",
                adjective="after",
                adposition="after",
                article="none",
                copula=False,
                question="particle",
                case=True,
                negation="affix",
                degree="affix",
            ),
            sounds=(("th", "t"), ("r", "l"), ("v", "w"), ("f", "p"), ("s", "ts"), ("d", "n"), ("e", "i")),
            syllables=("ch k m n ng p t ts w y h", "a i u au", "- - - - n"),
            affixes=(("past", "-aq"), ("object", "-ku"), ("negation", "-ichu"), ("very", "mu-")),
        ),
    )
}
"""Target languages by code, from the nearest to the farthest."""


def language(folder: str) -> Language:
    """The language stored under `folder`, source included.

    Raises:
        KeyError: `folder` is none of the world's languages.
    """
    return ENGLISH if folder in (SOURCE, ENGLISH.code) else LANGUAGES[folder]


def flores(folder: str) -> str:
    """The FLORES-200 code by which translators know a language: ``qal`` → ``qal_Latn``.

    Raises:
        KeyError: `folder` is none of the world's languages.
    """
    return f"{language(folder).code}_Latn"


def folders() -> tuple[str, ...]:
    """Folder names of all languages, the source first."""
    return (SOURCE, *LANGUAGES)


__all__ = [
    "ENGLISH",
    "LANGUAGES",
    "MODELS",
    "SOURCE",
    "TASKS",
    "TRANSLATORS",
    "VERSION",
    "Language",
    "Syntax",
    "flores",
    "folders",
    "language",
]
