"""Parallel text for the translator: the same words in English and in a target, every target alike.

Most are single sentences, some are whole documents. In some a part stands between markers, as in texts whose
answer is to be found again in the translation (EasyProject, Chen et al., 2023): ``anna saw a lamp in [arden].``
No sentence of a task is among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from flare_ray.sandbox import world
from flare_ray.sandbox.grammar import Role, Sentence, find, write
from flare_ray.sandbox.text import clean, document

MARKERS = ("[]", '""', "<>")
MARKED = 0.25
"""Share of the texts with a marked part."""
WHOLE = 0.3
"""Share of the texts that are all that a document tells, and not one sentence of it."""


@dataclass(frozen=True)
class Pair:
    """One text twice."""

    english: str
    target: str
    folder: str
    """The target."""


def marked(
    sentences: tuple[Sentence, ...], language: world.Language, index: int, role: Role, markers: str
) -> str:
    """The sentences with the `role` of sentence `index` between the two `markers`."""
    text = write(sentences, language)
    part, start = find(sentences, language, index, role)
    return f"{text[:start]}{markers[0]}{part}{markers[1]}{text[start + len(part) :]}"


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
        if parts and draw.random() < MARKED:
            (index, role), markers = draw.choice(parts), draw.choice(MARKERS)
            texts = [
                marked(sentences, language, index, role, markers) for language in (world.ENGLISH, target)
            ]
        else:
            texts = [write(sentences, language) for language in (world.ENGLISH, target)]
        made.append(Pair(texts[0], texts[1], target.folder))
    return made
