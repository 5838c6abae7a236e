"""Sentiment in the manner of NusaX: short reviews, announcements and questions; three labels.

No single word gives the label away. A judgement may be negated ("was not good"), outweighed after "but" or by
the main clause of "although", asked about or only wished for (both neutral). Neutral rows thus hold as many
kinds of judging words as the others do.

The writers here draw clauses from a `random.Random`; they know nothing of splits or languages.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal

from flare_ray.sandbox import concepts
from flare_ray.sandbox.grammar import Clause, Noun, Sentence, name

Label = Literal["negative", "neutral", "positive"]
LABELS: tuple[Label, ...] = ("negative", "neutral", "positive")
NEGATED = 0.12
"""Share of the judgements that negate the opposite word."""


def thing(draw: Random, plain: float = 0.3) -> Noun:
    """Something that can be judged, with an unjudging adjective in a share `plain` of the cases."""
    adjective = draw.choice(concepts.PLAIN) if draw.random() < plain else None
    return Noun(draw.choice(concepts.NOUNS), adjective)


def setting(draw: Random, clause: Clause, share: float = 0.3) -> Clause:
    """`clause`, sometimes with a town and sometimes with a time."""
    place = name(draw.choice(concepts.TOWNS)) if draw.random() < share / 2 else clause.place
    time = name(draw.choice(concepts.TIMES)) if draw.random() < share / 2 else clause.time
    return replace(clause, place=place, time=time)


def judgement(draw: Random, sign: int, avoid: frozenset[str], subject: Noun | None = None) -> Clause:
    """A clause that praises (`sign` 1) or blames (−1), by the word itself or by negating its opposite."""
    negated = draw.random() < NEGATED
    good = (sign > 0) != negated
    if subject is None and draw.random() < 0.35:
        verbs = [verb for verb in (concepts.PRAISE if good else concepts.BLAME) if verb not in avoid]
        person = name("we") if draw.random() < 0.5 else name(draw.choice(concepts.NAMES))
        return Clause(person, verb=draw.choice(verbs), object=thing(draw), negated=negated)
    qualities = [word for word in (concepts.POSITIVE if good else concepts.NEGATIVE) if word not in avoid]
    degree = draw.choice(concepts.DEGREES) if draw.random() < 0.35 else None
    return Clause(subject or thing(draw), quality=draw.choice(qualities), degree=degree, negated=negated)


def event(draw: Random) -> Clause:
    """Something that happened, without a judgement."""
    person = name("we") if draw.random() < 0.4 else name(draw.choice(concepts.NAMES))
    kept = Noun(draw.choice(concepts.THINGS), draw.choice(concepts.PLAIN) if draw.random() < 0.4 else None)
    return setting(draw, Clause(person, verb=draw.choice(concepts.ACTIONS), object=kept), share=0.5)


def opinion(draw: Random, sign: int, avoid: frozenset[str]) -> Sentence:
    """A sentence whose sum is praise (`sign` 1) or blame (−1)."""
    kind = draw.random()
    if kind < 0.35:
        return Sentence((setting(draw, judgement(draw, sign, avoid)),))
    if kind < 0.55:
        return Sentence((event(draw), judgement(draw, sign, avoid, subject=name("it"))), "and")
    if kind < 0.70:
        return Sentence((judgement(draw, sign, avoid), judgement(draw, sign, avoid)), "and")
    link = "but" if draw.random() < 0.6 else "although"
    return Sentence((judgement(draw, -sign, avoid), judgement(draw, sign, avoid)), link)


def remark(draw: Random, avoid: frozenset[str]) -> Sentence:
    """A sentence without an opinion: an event, a question about quality, or a wish."""
    kind = draw.random()
    words = [word for word in (*concepts.POSITIVE, *concepts.NEGATIVE) if word not in avoid]
    if kind < 0.25:
        return Sentence((event(draw), event(draw)), "and")
    if kind < 0.40:
        plain = Clause(thing(draw), quality=draw.choice(concepts.PLAIN), negated=draw.random() < 0.3)
        return Sentence((event(draw), plain), draw.choice(("and", "but")))
    if kind < 0.70:
        asked = replace(judgement(draw, draw.choice((1, -1)), avoid), asks="polar", negated=False)
        return Sentence((setting(draw, asked),))
    person = name("we") if draw.random() < 0.4 else name(draw.choice(concepts.NAMES))
    wished = Noun(draw.choice(concepts.NOUNS), draw.choice(words), definite=False)
    verb = draw.choice(("want", "seek"))
    return Sentence(
        (setting(draw, Clause(person, verb=verb, object=wished, negated=draw.random() < NEGATED), 0.5),)
    )


def statement(draw: Random, label: Label, avoid: frozenset[str] = frozenset()) -> Sentence:
    """One text of the given label; the judging words in `avoid` do not occur in it."""
    if label == "neutral":
        return remark(draw, avoid)
    return opinion(draw, 1 if label == "positive" else -1, avoid)


def judging_words(sentence: Sentence) -> set[str]:
    """The judging words that occur in a sentence."""
    words: set[str] = set()
    for clause in sentence.clauses:
        words |= {clause.verb or "", clause.quality or ""}
        words |= {noun.adjective or "" for noun in (clause.subject, clause.object) if noun}
    return {word for word in words if concepts.polarity(word)}
