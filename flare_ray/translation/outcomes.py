"""What becomes of a row in translation: the texts that it asks for, the translated row, or why there is none.

The same function says what to translate and puts the row together. It asks in steps: a row whose answer loses its
markers asks for the same context in the next style of markers. What is asked in a step follows from the row and from
the translations of the steps before, whoever made them and when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_ray.tasks.base import Row, Task
from flare_ray.translation.answers import Span, distinct, enclose, find, recover
from flare_ray.translation.memory import Entry

Known = Callable[[str], Entry | None]
"""A text's translation, None when there is none yet."""


@dataclass
class Outcome:
    """One row's.

    steps: the texts that it asked for, step by step, translated or not. waiting: a text of the last step is not.
    row: the translated row, without its id and label; reason: why there is none. marks: for each style of markers
    tried, whether the answers were found again. entries: translations that the row is made of.
    """

    steps: list[list[str]] = field(default_factory=list)
    waiting: bool = False
    row: dict[str, Any] | None = None
    reason: str | None = None
    marks: list[tuple[str, bool]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def ask(self, known: Known, texts: Sequence[str], step: int) -> list[Entry] | None:
        """Their translations; None while one is not there."""
        while len(self.steps) <= step:
            self.steps.append([])
        self.steps[step] += texts
        found = [known(text) for text in texts]
        there = [entry for entry in found if entry is not None]
        if len(there) < len(found):
            self.waiting = True
            return None
        return there


def outcome(task: Task, row: Row, answers: Mapping[str, Any], into_english: bool, known: Known) -> Outcome:
    """A row's outcome by what is translated so far. answers: the corpus's marker settings."""
    if task.kind == "classification":
        return _texts(row, task.text_columns, known)
    question = _Question(row, answers, known)
    return question.into_english() if into_english else question.into_target()


def _texts(row: Row, columns: Sequence[str], known: Known) -> Outcome:
    """A row of plain texts."""
    made = Outcome()
    entries = made.ask(known, [row[column] for column in columns], 0)
    if entries is None:
        return made
    made.entries = entries
    if any("empty" in entry.flags for entry in entries):
        made.reason = "empty translation"
    else:
        made.row = {column: entry.translation for column, entry in zip(columns, entries, strict=True)}
    return made


class _Question:
    """A question with its context and answers."""

    def __init__(self, row: Row, answers: Mapping[str, Any], known: Known):
        self.row, self.known = row, known
        self.context: str = row["context"]
        starts = [(answer["start"], answer["start"] + len(answer["text"])) for answer in row["answers"]]
        self.spans = distinct([Span(start, end) for start, end in starts])
        marked = ((style, enclose(self.context, self.spans, style)) for style in answers["markers"])
        self.marked = [(style, text) for style, text in marked if text is not None]
        self.alone: bool = answers["answer_alone"]

    def into_target(self) -> Outcome:
        """The context is the marked one's translation, and the answers are where the markers were."""
        made = _texts(self.row, ["question"], self.known)
        answered = self._answered(made)
        if made.waiting or made.reason:
            return made
        if answered is None or made.row is None:
            made.row, made.reason = None, "answer lost"
        else:
            made.row |= answered
        return made

    def into_english(self) -> Outcome:
        """The context is translated without markers, which would give the answer away; its answers with them.

        A row whose answers are lost stays, without answers: a method that only reads its English can use it.
        """
        made = _texts(self.row, ["context", "question"], self.known)
        answered = self._answered(made)
        if made.waiting or made.row is None:
            return made
        # gold answers at test are compared as strings: their place in this context may be another, or none
        context, found = made.row["context"], answered["answers"] if answered else []
        made.row["answers"] = [{"text": one["text"], "start": context.find(one["text"])} for one in found]
        return made

    def _answered(self, made: Outcome) -> dict[str, Any] | None:
        """The context with its answers, by the first style that survives."""
        for step, (style, text) in enumerate(self.marked):
            entries = made.ask(self.known, [text], step)
            if entries is None:
                return None
            found = recover(entries[0].translation, len(self.spans), style)
            made.marks.append((style, found is not None))
            if found is not None:
                made.entries += entries
                return _with_answers(found.text, found.spans)
        return self._looked_up(made) if self.alone else None

    def _looked_up(self, made: Outcome) -> dict[str, Any] | None:
        """Answers translated by themselves and found in the translated context, each in one place only."""
        answers = [self.context[span.start : span.end] for span in self.spans]
        entries = made.ask(self.known, [self.context, *answers], len(self.marked))
        if entries is None:
            return None
        context = entries[0].translation
        spans = [span for entry in entries[1:] if (span := find(context, entry.translation))]
        if len(spans) < len(answers):
            return None
        made.entries += entries
        return _with_answers(context, spans)


def _with_answers(context: str, spans: Sequence[Span]) -> dict[str, Any]:
    answers = [{"text": context[span.start : span.end], "start": span.start} for span in spans]
    return {"context": context, "answers": answers}
