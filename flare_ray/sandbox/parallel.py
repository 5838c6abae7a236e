"""Parallel text for the translator: the same words in English and in a target, every target alike.

Most are single sentences, some are whole documents. In some a part stands between markers, as in texts whose
answer is to be found again in the translation (EasyProject, Chen et al., 2023): ``anna saw a lamp in [arden].``
In some of those another part has marks of its own, which must not be mistaken for them. No sentence of a task is
among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from flare_ray.sandbox import world
from flare_ray.sandbox.grammar import Role, Sentence, find, write
from flare_ray.sandbox.text import clean, document

MARKERS = ("[]", '""', "<>")
MARKED = 0.5
"""Share of the texts with a marked part."""
TWICE = 0.55
"""Share of the marked texts in which another part has other marks."""
WHOLE = 0.42
"""Share of the texts that are all that a document tells, and not one sentence of it."""


@dataclass(frozen=True)
class Pair:
    """One text twice."""

    english: str
    target: str
    folder: str
    """The target."""


Mark = tuple[int, Role, str, str]
"""What is marked: a sentence's number, a role in it, and the signs before and behind that."""


def marked(sentences: tuple[Sentence, ...], language: world.Language, marks: list[Mark]) -> str:
    """The sentences with signs around some of their parts."""
    text = write(sentences, language)
    signs: list[tuple[int, str]] = []
    for index, role, opening, closing in marks:
        part, start = find(sentences, language, index, role)
        signs += [(start, opening), (start + len(part), closing)]
    for place, sign in sorted(signs, reverse=True):
        text = text[:place] + sign + text[place:]
    return text


def _parts(sentences: tuple[Sentence, ...]) -> list[tuple[int, Role]]:
    """What can be marked: sentence number and role, in sentences of one clause (`find` joins those of more)."""
    found: list[tuple[int, Role]] = []
    for index, sentence in enumerate(sentences):
        (clause, *more) = sentence.clauses
        if not more and clause.asks is None:
            roles: dict[Role, object] = {
                "subject": clause.subject,
                "object": clause.object,
                "place": clause.place,
                "time": clause.time,
            }
            found += [(index, role) for role, part in roles.items() if part]
    return found


def pairs(count: int, forbidden: dict[str, frozenset[str]], seed: str = "translation") -> list[Pair]:
    """`count` pairs without the `forbidden` sentences (see `text.taboo`)."""
    draw = Random(seed)
    targets = list(world.LANGUAGES.values())
    made: list[Pair] = []
    while len(made) < count:
        words, target = document(draw), draw.choice(targets)
        if not clean(words, (world.ENGLISH, target), forbidden):
            continue
        sentences = words.told if draw.random() < WHOLE else (draw.choice(words.sentences),)
        parts = _parts(sentences)
        marks: list[Mark] = []
        if parts and draw.random() < MARKED:
            several = min(len(parts), 2 if draw.random() < TWICE else 1)
            chosen, signs = draw.sample(parts, several), draw.sample(MARKERS, several)
            marks = [(*part, *sign) for part, sign in zip(chosen, signs, strict=True)]
        texts = [marked(sentences, language, marks) for language in (world.ENGLISH, target)]
        made.append(Pair(texts[0], texts[1], target.folder))
    return made
