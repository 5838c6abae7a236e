"""The pretraining text: little documents, mostly in English, some in each target, a few side by side.

A document is a review with its verdict, an inference with its connective, or facts with a question and its
answer. Documents hang together, so that filling in a masked word needs the sentences around it: that is where
a small model learns what the words mean. A target's share falls with its distance (`world.Language.share`).
No sentence of any task, of any split, occurs in it, in any language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from flare_ray.sandbox import concepts, world
from flare_ray.sandbox.answering import ROLES, item
from flare_ray.sandbox.grammar import Clause, Noun, Role, Sentence, find, name, write
from flare_ray.sandbox.inference import RELATIONS, pair
from flare_ray.sandbox.sentiment import LABELS, Label, statement

PARALLEL = 0.06
"""Lines that hold a document twice, in English and in a target."""
_MOODS: dict[Label, tuple[str, ...]] = {
    "positive": concepts.HAPPY,
    "negative": concepts.ANGRY,
    "neutral": concepts.CALM,
}
_VERDICTS = {"entailment": "true", "neutral": "unclear", "contradiction": "false"}


@dataclass(frozen=True)
class Line:
    """One line of pretraining text; `translation` is set for parallel lines."""

    folder: str
    text: str
    translation: str | None = None


@dataclass(frozen=True)
class Document:
    """Sentences; `answer` names the sentence and the role that a closing one-word answer repeats."""

    sentences: tuple[Sentence, ...]
    answer: tuple[int, Role] | None = None

    def write(self, language: world.Language) -> str:
        """The document as text."""
        text = write(self.sentences, language)
        if self.answer is None:
            return text
        fact, role = self.answer
        return f"{text} {find(self.sentences, language, fact, role)[0]}."


def review(draw: Random) -> Document:
    """One or two statements of one label, then how people felt."""
    label = draw.choice(LABELS)
    who = name("we") if draw.random() < 0.6 else name(draw.choice(concepts.NAMES))
    return Document((statement(draw, label), Sentence((Clause(who, quality=draw.choice(_MOODS[label])),))))


def chorus(draw: Random) -> Document:
    """Several plain judgements of one thing that all say the same: where synonyms are learned."""
    label: Label = draw.choice(("positive", "negative"))
    good = label == "positive"
    judged = Noun(draw.choice(concepts.NOUNS))
    words = draw.sample(concepts.POSITIVE if good else concepts.NEGATIVE, 3)
    verb = draw.choice(concepts.PRAISE if good else concepts.BLAME)
    clauses = [
        Clause(judged, quality=words[0]),
        Clause(name("it"), quality=words[1], degree=draw.choice((None, *concepts.DEGREES))),
        Clause(name("it"), quality=words[2]),
        Clause(name("we"), verb=verb, object=judged),
        Clause(name("we"), quality=draw.choice(_MOODS[label])),
    ]
    picked = [clauses[0], *draw.sample(clauses[1:], 2)]
    return Document(tuple(Sentence((clause,)) for clause in picked))


def argument(draw: Random) -> Document:
    """A premise, a hypothesis, and whether that is true."""
    relation = draw.choice(RELATIONS)
    clauses = pair(draw, relation)
    verdict = Clause(name("it"), quality=_VERDICTS[relation])
    return Document(tuple(Sentence((clause,)) for clause in (*clauses, verdict)))


def interview(draw: Random) -> Document:
    """Facts, a question about one of them, and the answer."""
    made = item(draw, draw.choice(ROLES))
    return Document((*made.context, made.question), (made.fact, made.role))


def definition(draw: Random) -> Document:
    """What kind of thing something is."""
    kind = draw.choice(tuple(concepts.HYPERNYMS))
    one = Noun(draw.choice(concepts.HYPERNYMS[kind]), definite=False)
    clauses = (
        Clause(name(draw.choice(concepts.NAMES)), verb="get", object=one),
        Clause(name("it"), quality=kind),
    )
    return Document((Sentence(clauses, "and"),))


_KINDS: dict[Callable[[Random], Document], float] = {
    review: 0.50,
    chorus: 0.20,
    argument: 0.13,
    interview: 0.14,
    definition: 0.03,
}


def document(draw: Random) -> Document:
    """A document of any kind."""
    return draw.choices(list(_KINDS), list(_KINDS.values()))[0](draw)


def taboo(tasks: Iterable[Sentence]) -> dict[str, frozenset[str]]:
    """What the pretraining text must not contain: language code → sentences of the tasks as written there."""
    kept = list(dict.fromkeys(tasks))
    languages = [world.language(folder) for folder in world.folders()]
    return {language.code: frozenset(write((one,), language) for one in kept) for language in languages}


def _folder(draw: Random, source: bool) -> str:
    languages = (world.ENGLISH, *world.LANGUAGES.values()) if source else tuple(world.LANGUAGES.values())
    return draw.choices(languages, [language.share for language in languages])[0].folder


def lines(count: int, forbidden: dict[str, frozenset[str]], seed: str = "pretraining") -> list[Line]:
    """`count` lines of pretraining text without the `forbidden` sentences (see `taboo`)."""
    draw = Random(seed)
    made: list[Line] = []
    while len(made) < count:
        parallel = draw.random() < PARALLEL
        folder = _folder(draw, source=not parallel)
        words = document(draw)
        languages = [world.ENGLISH, world.language(folder)] if parallel else [world.language(folder)]
        if any(
            write((one,), spoken) in forbidden[spoken.code] for one in words.sentences for spoken in languages
        ):
            continue
        texts = [words.write(spoken) for spoken in languages]
        made.append(Line(folder, texts[0], texts[1] if parallel else None))
    return made
