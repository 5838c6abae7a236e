"""Extractive question answering in the manner of TyDiQA-GoldP: a short context, a question, one gold span.

A context holds three facts about different people, things, and places or times. The question repeats all of
the asked fact but the answer, so that this is found by matching the rest, and not by the question word alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from flare_ray.sandbox import concepts
from flare_ray.sandbox.grammar import Clause, Noun, Role, Sentence, answerless, name

ROLES: tuple[Role, ...] = ("subject", "object", "place", "time")
FACTS = 3


@dataclass(frozen=True)
class Item:
    """One question: `context[fact]` answers it with its part `role`."""

    context: tuple[Sentence, ...]
    question: Sentence
    fact: int
    role: Role


def item(draw: Random, role: Role, count: int = FACTS) -> Item:
    """A question for `role` with a context of `count` facts, exactly one of which fits."""
    people = draw.sample(concepts.NAMES, count)
    things = draw.sample(concepts.THINGS, count)
    towns = draw.sample(concepts.TOWNS, count)
    times = draw.sample(concepts.TIMES, count)
    actions = draw.sample(concepts.ACTIONS, count)
    facts = [
        Clause(name(who), verb=did, object=Noun(what, definite=False), place=name(where), time=name(when))
        for who, did, what, where, when in zip(people, actions, things, towns, times, strict=True)
    ]
    asked = draw.randrange(count)
    for index, fact in enumerate(facts):
        kept = role if index == asked and role in ("place", "time") else draw.choice(("place", "time"))
        facts[index] = replace(fact, time=None) if kept == "place" else replace(fact, place=None)
    question = answerless(facts[asked], role)
    return Item(tuple(Sentence((fact,)) for fact in facts), Sentence((question,)), asked, role)
