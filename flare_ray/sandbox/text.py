"""The pretraining text: little documents, mostly in English, some in each target, a few side by side.

A document is a review with its verdict, an inference with its connective, or facts with a question and its
answer. Documents hang together, so that filling in a masked word needs the sentences around it: that is where
a small model learns what the words mean. A target's share falls with its distance (`world.Language.share`).
No sentence of any task, of any split, occurs in it, in any language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from flare_ray.sandbox import concepts, world
from flare_ray.sandbox.answering import FACTS, ROLES, item
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
    """One line of pretraining text: what is told, what is asked of it, and how it ends, each may be empty."""

    folder: str
    kind: str
    """Name of the function below that drew it."""
    told: str
    asked: str = ""
    closing: str = ""
    """A sentence that follows from the rest: the feeling, the verdict, the answer."""
    label: str = ""
    """The closing in one word, as a task would put it: ``positive``, ``entailment``, or the answer itself."""
    translation: Line | None = None
    """The same in a target; then this line is English."""

    @property
    def text(self) -> str:
        """All of it, without the translation."""
        return " ".join(part for part in (self.told, self.asked, self.closing) if part)


@dataclass(frozen=True)
class Document:
    """The meanings of a line; `answer` names the sentence told and the role that a one-word closing repeats."""

    kind: str
    told: tuple[Sentence, ...]
    asked: tuple[Sentence, ...] = ()
    closing: tuple[Sentence, ...] = ()
    label: str = ""
    answer: tuple[int, Role] | None = None

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """Every sentence of it."""
        return (*self.told, *self.asked, *self.closing)

    def write(self, language: world.Language) -> Line:
        """The document as text."""
        told, asked, closing = (write(part, language) for part in (self.told, self.asked, self.closing))
        label = self.label
        if self.answer is not None:
            label = find(self.told, language, *self.answer)[0]
            closing = f"{label}."
        return Line(language.folder, self.kind, told, asked, closing, label)


def review(draw: Random) -> Document:
    """A statement of one label, then how people felt."""
    label = draw.choice(LABELS)
    who = name("we") if draw.random() < 0.6 else name(draw.choice(concepts.NAMES))
    mood = Sentence((Clause(who, quality=draw.choice(_MOODS[label])),))
    return Document("review", (statement(draw, label),), closing=(mood,), label=label)


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
    return Document("chorus", tuple(Sentence((clause,)) for clause in picked))


def argument(draw: Random) -> Document:
    """A premise, a hypothesis, and whether that is true."""
    relation = draw.choice(RELATIONS)
    premise, hypothesis = (Sentence((clause,)) for clause in pair(draw, relation))
    verdict = Sentence((Clause(name("it"), quality=_VERDICTS[relation]),))
    return Document("argument", (premise,), (hypothesis,), (verdict,), relation)


def interview(draw: Random) -> Document:
    """Facts, a question about one of them, and the answer; short ones too, from which the rest is easier."""
    made = item(draw, draw.choice(ROLES), draw.randint(1, FACTS))
    return Document("interview", made.context, (made.question,), answer=(made.fact, made.role))


def retelling(draw: Random) -> Document:
    """Facts, and the same in another order: every word of them teaches to look up what was told of whom."""
    told = item(draw, draw.choice(ROLES), draw.randint(2, FACTS)).context
    return Document("retelling", told, closing=tuple(draw.sample(told, len(told))))


def definition(draw: Random) -> Document:
    """What kind of thing something is."""
    kind = draw.choice(tuple(concepts.HYPERNYMS))
    one = Noun(draw.choice(concepts.HYPERNYMS[kind]), definite=False)
    clauses = (
        Clause(name(draw.choice(concepts.NAMES)), verb="get", object=one),
        Clause(name("it"), quality=kind),
    )
    return Document("definition", (Sentence(clauses, "and"),))


KINDS: dict[Callable[[Random], Document], float] = {
    review: 0.30,
    chorus: 0.10,
    argument: 0.14,
    interview: 0.14,
    retelling: 0.30,
    definition: 0.02,
}


def document(draw: Random) -> Document:
    """A document of any kind."""
    return draw.choices(list(KINDS), list(KINDS.values()))[0](draw)


def taboo(tasks: Iterable[Sentence]) -> dict[str, frozenset[str]]:
    """What the pretraining text must not contain: language code → sentences of the tasks as written there."""
    kept = list(dict.fromkeys(tasks))
    languages = [world.language(folder) for folder in world.folders()]
    return {language.code: frozenset(write((one,), language) for one in kept) for language in languages}


def clean(words: Document, languages: Iterable[world.Language], forbidden: dict[str, frozenset[str]]) -> bool:
    """Whether none of the document's sentences is forbidden in any of the languages."""
    return not any(
        write((one,), spoken) in forbidden[spoken.code] for spoken in languages for one in words.sentences
    )


def lines(count: int, forbidden: dict[str, frozenset[str]], seed: str = "pretraining") -> list[Line]:
    """`count` lines of pretraining text without the `forbidden` sentences (see `taboo`)."""
    draw = Random(seed)
    targets = list(world.LANGUAGES.values())
    every = [world.ENGLISH, *targets]
    made: list[Line] = []
    while len(made) < count:
        words = document(draw)
        if draw.random() < PARALLEL:
            target = draw.choices(targets, [language.share for language in targets])[0]
            if clean(words, (world.ENGLISH, target), forbidden):
                made.append(replace(words.write(world.ENGLISH), translation=words.write(target)))
            continue
        language = draw.choices(every, [language.share for language in every])[0]
        if clean(words, (language,), forbidden):
            made.append(words.write(language))
    return made
