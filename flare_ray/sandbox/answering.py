"""Extractive question answering in the manner of TyDiQA-GoldP: a short context, a question, one gold span.

A context holds three facts about different people, things, and places or times; all of them share the action,
so that the answer is found by matching the question's person or thing, and not by its question word alone.
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


def item(draw: Random, role: Role) -> Item:
    """A question for `role` with a context in which exactly one fact fits."""
    people = draw.sample(concepts.NAMES, FACTS)
    things = draw.sample(concepts.THINGS, FACTS)
    towns = draw.sample(concepts.TOWNS, FACTS)
    times = draw.sample(concepts.TIMES, FACTS)
    action = draw.choice(concepts.ACTIONS)
    facts = [
        Clause(name(who), verb=action, object=Noun(what, definite=False), place=name(where), time=name(when))
        for who, what, where, when in zip(people, things, towns, times, strict=True)
    ]
    kept = role if role in ("place", "time") else draw.choice(("place", "time"))
    facts = [replace(fact, time=None) if kept == "place" else replace(fact, place=None) for fact in facts]
    asked = draw.randrange(FACTS)
    question = answerless(facts[asked], role)
    if role == "object":
        question = replace(question, place=None, time=None)
    return Item(tuple(Sentence((fact,)) for fact in facts), Sentence((question,)), asked, role)
