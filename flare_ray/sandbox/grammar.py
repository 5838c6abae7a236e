"""From meaning to sentence: one clause structure, realised by the syntax of each language.

A `Clause` says who did what to what, where and when, or what something was like; it has no word order. Every
language realises the same clauses, which makes parallel text exact by construction.

>>> from flare_ray.sandbox.world import ENGLISH, LANGUAGES
>>> clause = Clause(Noun("soup"), quality="good", degree="very", negated=True)
>>> write([Sentence((clause,))], ENGLISH)
'the soup was not very good.'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from flare_ray.sandbox import concepts
from flare_ray.sandbox.lexicon import lexicon
from flare_ray.sandbox.world import ENGLISH, Language

Role = Literal["subject", "object", "place", "time"]
WH: dict[Role, str] = {"subject": "who", "object": "what", "place": "where", "time": "when"}


@dataclass(frozen=True)
class Noun:
    """A noun phrase; `definite` None leaves out the article (names, pronouns, question words)."""

    head: str
    adjective: str | None = None
    definite: bool | None = True


@dataclass(frozen=True)
class Clause:
    """One statement or question. Without a verb it is copular: `subject` was `quality` (or a `place`)."""

    subject: Noun
    verb: str | None = None
    object: Noun | None = None
    quality: str | None = None
    degree: str | None = None
    negated: bool = False
    place: Noun | None = None
    time: Noun | None = None
    asks: Role | Literal["polar"] | None = None


@dataclass(frozen=True)
class Sentence:
    """Clauses joined by `link` (and, but, because; or although, which opens the first clause)."""

    clauses: tuple[Clause, ...]
    link: str | None = None


@dataclass(frozen=True)
class Word:
    """A written word, and which part of its clause it belongs to (what a question may ask for)."""

    text: str
    role: str = ""


def name(head: str) -> Noun:
    """A noun phrase that takes no article."""
    return Noun(head, definite=None)


def answerless(clause: Clause, role: Role) -> Clause:
    """The question that asks for the `role` of `clause`."""
    blank = name(WH[role])
    if role == "subject":
        return replace(clause, asks=role, subject=blank)
    if role == "object":
        return replace(clause, asks=role, object=blank)
    return (
        replace(clause, asks=role, place=blank) if role == "place" else replace(clause, asks=role, time=blank)
    )


class Realiser:
    """Writes clauses in one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.syntax = language.syntax
        self.words = lexicon(language)
        self.affixes = dict(language.affixes)

    def affix(self, word: str, kind: str) -> str:
        """`word` with the affix `kind`, or unchanged where the language has none."""
        letters = self.affixes.get(kind, "")
        return letters[:-1] + word if letters.endswith("-") else word + letters[1:]

    def noun(self, noun: Noun, role: str, marked: bool = False) -> list[Word]:
        """A noun phrase; `marked` gives it the object case."""
        head = self.words[noun.head]
        if noun.definite and self.syntax.article == "suffix":
            head = self.affix(head, "the")
        if marked and self.syntax.case:
            head = self.affix(head, "object")
        phrase = [head]
        if noun.adjective:
            adjective = self.words[noun.adjective]
            phrase = [adjective, head] if self.syntax.adjective == "before" else [head, adjective]
        if noun.definite is not None and self.syntax.article == "word":
            article = self.words["the"] if noun.definite else ""
            if self.language is ENGLISH and not noun.definite:
                article = "an" if phrase[0][0] in "aeio" or phrase[0].startswith("ug") else "a"
            phrase = [article, *phrase] if article else phrase
        return [Word(word, role) for word in phrase]

    def adjunct(self, adposition: str, noun: Noun | None, role: Role) -> list[Word]:
        """A place or a time; question words stand alone."""
        if noun is None:
            return []
        phrase = self.noun(noun, role)
        if noun.head in ("where", "when"):
            return phrase
        word = [Word(self.words[adposition])]
        return word + phrase if self.syntax.adposition == "before" else phrase + word

    def past(self, verb: str) -> str:
        """The verb in the only tense there is."""
        if self.language is ENGLISH:
            return concepts.PAST.get(verb, verb + ("d" if verb.endswith("e") else "ed"))
        return self.affix(self.words[verb], "past")

    def predicate(self, clause: Clause) -> tuple[list[Word], list[Word]]:
        """What stands at the verb's place (auxiliaries and negation included), and the quality, if any."""
        wordy = clause.negated and self.syntax.negation == "word"
        negation = [Word(self.words["not"])] if wordy else []
        if clause.verb is not None:
            if self.syntax.question == "auxiliary" and clause.asks not in (None, "subject"):
                return [*negation, Word(self.words[clause.verb])], []
            if self.syntax.question == "auxiliary" and clause.negated:
                return [Word(self.auxiliary(clause)), *negation, Word(self.words[clause.verb])], []
            verb = self.past(clause.verb)
            if clause.negated and not wordy:
                verb = self.affix(verb, "negation")
            return [*negation, Word(verb)], []
        quality = self.quality(clause)
        if not self.syntax.copula:
            return [], negation + quality
        copula = [Word(self.auxiliary(clause))]
        if self.syntax.question == "auxiliary" and clause.asks not in (None, "subject"):
            copula = []
        if clause.negated and not wordy:
            copula = [Word(self.affix(copula[0].text, "negation"))]
        return copula, negation + quality

    def quality(self, clause: Clause) -> list[Word]:
        """The adjective of a copular clause with its degree."""
        if clause.quality is None:
            return []
        word = self.words[clause.quality]
        if clause.degree and self.syntax.degree == "affix":
            word = self.affix(word, "very")
        if clause.negated and self.syntax.negation == "affix" and not self.syntax.copula:
            word = self.affix(word, "negation")
        degree = [Word(self.words[clause.degree])] if clause.degree and self.syntax.degree == "word" else []
        return [*degree, Word(word)]

    def auxiliary(self, clause: Clause) -> str:
        """ "did" before a verb, "was" or "were" before a quality."""
        if clause.verb is not None:
            return "did" if self.language is ENGLISH else self.affix(self.words["do"], "past")
        if self.language is ENGLISH:
            return "were" if clause.subject.head in ("we", "they") else "was"
        return self.words["be"]

    def clause(self, clause: Clause) -> list[Word]:
        """All words of one clause in the language's order."""
        subject = self.noun(clause.subject, "subject")
        thing = self.noun(clause.object, "object", marked=True) if clause.object else []
        place, time = self.adjunct("in", clause.place, "place"), self.adjunct("on", clause.time, "time")
        verb, quality = self.predicate(clause)
        if self.syntax.order == "SOV":
            body = [*subject, *time, *place, *thing, *quality, *verb]
        elif self.syntax.order == "VSO":
            body = [*verb, *quality, *subject, *thing, *place, *time]
        else:
            body = self.fronted(
                clause, subject, verb, quality, {"object": thing, "place": place, "time": time}
            )
        if clause.asks and self.syntax.question == "particle":
            particle = Word(self.words["do"])
            body = [*body, particle] if self.syntax.order == "SOV" else [particle, *body]
        return body

    def fronted(
        self,
        clause: Clause,
        subject: list[Word],
        verb: list[Word],
        quality: list[Word],
        rest: dict[str, list[Word]],
    ) -> list[Word]:
        """Subject-verb-object order; where questions take an auxiliary, it moves behind the question word."""
        moves = self.syntax.question == "auxiliary" and clause.asks not in (None, "subject")
        asked = rest.pop(str(clause.asks), []) if moves else []
        front = [*asked, Word(self.auxiliary(clause))] if moves else []
        return [*front, *subject, *verb, *quality, *(word for part in rest.values() for word in part)]

    def sentence(self, sentence: Sentence) -> list[Word]:
        """One sentence with its punctuation; roles are those of the last clause that has them."""
        parts = [self.clause(clause) for clause in sentence.clauses]
        asks = any(clause.asks for clause in sentence.clauses)
        words = [*parts[0]]
        if sentence.link == "although":
            words = [Word(self.words["although"]), *words]
        for part in parts[1:]:
            words[-1] = replace(words[-1], text=words[-1].text + ",")
            words += (
                part if sentence.link in (None, "although") else [Word(self.words[str(sentence.link)]), *part]
            )
        words[-1] = replace(words[-1], text=words[-1].text + ("?" if asks else "."))
        return words


_REALISERS: dict[str, Realiser] = {}


def realiser(language: Language) -> Realiser:
    """The one realiser of a language."""
    return _REALISERS.setdefault(language.code, Realiser(language))


def write(sentences: Iterable[Sentence], language: Language) -> str:
    """The sentences as text, one blank between words, punctuation attached to its word."""
    voice = realiser(language)
    return " ".join(word.text for sentence in sentences for word in voice.sentence(sentence))


def find(sentences: Iterable[Sentence], language: Language, index: int, role: Role) -> tuple[str, int]:
    """The words of `role` in sentence number `index`, unpunctuated, and their offset in `write`'s text.

    Raises:
        ValueError: that sentence has no such part.
    """
    voice, offset = realiser(language), 0
    for number, sentence in enumerate(sentences):
        for word in (words := voice.sentence(sentence)):
            if number == index and word.role == role:
                texts = [other.text for other in words if other.role == role]
                return " ".join(texts).rstrip(",.?"), offset
            offset += len(word.text) + 1
    raise ValueError(f"sentence {index} has no {role}")
