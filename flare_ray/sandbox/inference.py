"""Inference in the manner of XNLI: a premise, a hypothesis, and whether the one follows from the other.

Premises are events. A hypothesis drops or generalises a part (entailment), contradicts one (another place,
time or colour, or a negation), or adds something the premise does not say (neutral). Every device is used
under more than one label where the meaning allows it: a negation alone decides nothing.
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

KIND = {word: kind for kind, words in concepts.HYPERNYMS.items() for word in words}


def premise(draw: Random) -> Clause:
    """A full event: a person, an action, a coloured thing, a town and a time."""
    return Clause(
        name(draw.choice(concepts.NAMES)),
        verb=draw.choice(concepts.ACTIONS),
        object=Noun(draw.choice(concepts.THINGS), draw.choice(concepts.COLOURS), definite=False),
        place=name(draw.choice(concepts.TOWNS)),
        time=name(draw.choice(concepts.TIMES)),
        negated=False,
    )


def without(draw: Random, clause: Clause) -> Clause:
    """`clause` with its place or its time left out."""
    return replace(clause, place=None) if draw.random() < 0.5 else replace(clause, time=None)


def other(draw: Random, word: str, words: tuple[str, ...]) -> str:
    """Another one of `words`."""
    return draw.choice([candidate for candidate in words if candidate != word])


def follows(draw: Random, clause: Clause) -> Clause:
    """A weaker statement: true whenever `clause` is."""
    assert clause.object is not None
    weaker = without(draw, clause)
    kind = draw.random()
    if kind < 0.3:
        return replace(weaker, subject=name("someone"))
    if kind < 0.6:
        return replace(weaker, object=Noun(KIND[clause.object.head], definite=False))
    if kind < 0.8:
        return replace(weaker, object=replace(clause.object, adjective=None))
    colour = other(draw, str(clause.object.adjective), concepts.COLOURS)
    return Clause(replace(clause.object, adjective=None, definite=True), quality=colour, negated=True)


def contradicts(draw: Random, clause: Clause) -> Clause:
    """A statement that excludes `clause`: an event has one place and one time, a thing one colour."""
    assert clause.object is not None
    kind = draw.random()
    if kind < 0.35:
        return replace(without(draw, clause), negated=True)
    if kind < 0.6:
        town = other(draw, str(clause.place and clause.place.head), concepts.TOWNS)
        return replace(clause, place=name(town), time=None)
    if kind < 0.8:
        time = other(draw, str(clause.time and clause.time.head), concepts.TIMES)
        return replace(clause, time=name(time), place=None)
    colour = other(draw, str(clause.object.adjective), concepts.COLOURS)
    return Clause(replace(clause.object, adjective=None, definite=True), quality=colour)


def leaves_open(draw: Random, clause: Clause) -> Clause:
    """A statement about the same people or things that `clause` neither gives nor excludes."""
    assert clause.object is not None
    known = replace(clause.object, adjective=None, definite=True)
    kind = draw.random()
    if kind < 0.35:
        judged = draw.choice((*concepts.POSITIVE, *concepts.NEGATIVE))
        return Clause(known, quality=judged, negated=draw.random() < 0.3)
    if kind < 0.7:
        verb = draw.choice((*concepts.PRAISE, *concepts.BLAME))
        return Clause(clause.subject, verb=verb, object=known, negated=draw.random() < 0.3)
    someone = name(other(draw, clause.subject.head, concepts.NAMES))
    verb = draw.choice((*concepts.PRAISE, *concepts.BLAME, "want", "seek"))
    return Clause(someone, verb=verb, object=known, negated=draw.random() < 0.3)


_WRITERS: dict[Relation, Callable[[Random, Clause], Clause]] = {
    "entailment": follows,
    "neutral": leaves_open,
    "contradiction": contradicts,
}


def pair(draw: Random, relation: Relation) -> tuple[Clause, Clause]:
    """A premise and a hypothesis in the given relation."""
    first = premise(draw)
    return first, _WRITERS[relation](draw, first)
