"""Inference in the manner of XNLI: a premise, a hypothesis, and whether the one follows from the other.

A premise is an event. It has one place or one time, and its thing one colour, so a hypothesis that gives
another one contradicts it, and denying another one follows from it. What a premise does not say (a judgement,
somebody else's doings) is neutral. Every device, negation included, is used alike under all labels, so that
the hypothesis alone tells little: only judging words are neutral's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Literal

from flare_ray.sandbox import concepts
from flare_ray.sandbox.grammar import Clause, Noun, name

Relation = Literal["entailment", "neutral", "contradiction"]
RELATIONS: tuple[Relation, ...] = ("entailment", "neutral", "contradiction")
"""In XNLI's order: the integer label is the index."""
NEGATED = 0.05
"""Share of negated hypotheses, the same under every label."""
GENERAL = 0.1
"""Share of the hypotheses without a colour that name the kind of the thing: device for camera."""

KIND = {word: kind for kind, words in concepts.HYPERNYMS.items() for word in words}


def premise(draw: Random) -> Clause:
    """An event: a person, an action, a coloured thing, and a town or a time."""
    event = Clause(
        name(draw.choice(concepts.NAMES)),
        verb=draw.choice(concepts.ACTIONS),
        object=Noun(draw.choice(concepts.THINGS), draw.choice(concepts.COLOURS), definite=False),
    )
    if draw.random() < 0.5:
        return replace(event, place=name(draw.choice(concepts.TOWNS)))
    return replace(event, time=name(draw.choice(concepts.TIMES)))


def other(draw: Random, word: str, words: tuple[str, ...]) -> str:
    """Another one of `words`."""
    return draw.choice([candidate for candidate in words if candidate != word])


def restated(draw: Random, clause: Clause, swapped: bool, negated: bool) -> Clause:
    """`clause` in fewer words, one part of it (its place or time, or its colour) exchanged if `swapped`."""
    assert clause.object is not None
    place, time, thing = clause.place, clause.time, clause.object
    if draw.random() < 0.5:
        colour = other(draw, str(thing.adjective), concepts.COLOURS) if swapped else thing.adjective
        thing = replace(thing, adjective=colour)
        if draw.random() < 0.5:
            place = time = None
    else:
        head = KIND[thing.head] if draw.random() < GENERAL else thing.head
        thing = Noun(head, definite=False)
        if place is not None and swapped:
            place = name(other(draw, place.head, concepts.TOWNS))
        if time is not None and swapped:
            time = name(other(draw, time.head, concepts.TIMES))
    return replace(clause, object=thing, place=place, time=time, negated=negated)


def follows(draw: Random, clause: Clause) -> Clause:
    """What is true whenever `clause` is: less of it, or the denial of something else."""
    denies = draw.random() < NEGATED
    return restated(draw, clause, swapped=denies, negated=denies)


def contradicts(draw: Random, clause: Clause) -> Clause:
    """What cannot be true beside `clause`: its denial, or something else in its place."""
    denies = draw.random() < NEGATED
    return restated(draw, clause, swapped=not denies, negated=denies)


def leaves_open(draw: Random, clause: Clause) -> Clause:
    """What `clause` neither gives nor excludes: a judgement, or the same of somebody else."""
    assert clause.object is not None
    negated = draw.random() < NEGATED
    if draw.random() < 0.6:
        someone = name(other(draw, clause.subject.head, concepts.NAMES))
        return replace(restated(draw, clause, swapped=False, negated=negated), subject=someone)
    known = replace(clause.object, adjective=None, definite=True)
    if draw.random() < 0.5:
        judged = draw.choice((*concepts.POSITIVE, *concepts.NEGATIVE))
        return Clause(known, quality=judged, negated=negated)
    return Clause(
        clause.subject, verb=draw.choice((*concepts.PRAISE, *concepts.BLAME)), object=known, negated=negated
    )


_WRITERS: dict[Relation, Callable[[Random, Clause], Clause]] = {
    "entailment": follows,
    "neutral": leaves_open,
    "contradiction": contradicts,
}


def pair(draw: Random, relation: Relation) -> tuple[Clause, Clause]:
    """A premise and a hypothesis in the given relation."""
    first = premise(draw)
    return first, _WRITERS[relation](draw, first)
