"""Laws of a row's way through translation, on translators that lose what they are told to lose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flare_ray import registry
from flare_ray.translation.memory import Entry
from flare_ray.translation.outcomes import Outcome, outcome

TASK = registry.load("tasks", "tydiqa")
CONTEXT = "anna lives in arden. bob lives in kelso."
ROW = {
    "id": "1",
    "context": CONTEXT,
    "question": "where does anna live?",
    "answers": [{"text": "arden", "start": 14}],
}
MARKERS = ["brackets", "angles", "tags", "quotes"]


def shouting(loses: str = "") -> Callable[[str], Entry]:
    """Translates into capitals and loses some signs."""

    def known(text: str) -> Entry:
        made = "".join(sign for sign in text.upper() if sign not in loses)
        return Entry(text, made, 1, () if made.strip() else ("empty",))

    return known


def answers(markers: Sequence[str] = MARKERS, alone: bool = False) -> dict[str, Any]:
    return {"markers": list(markers), "answer_alone": alone}


def rounds(row: dict[str, Any], settings: dict[str, Any], into_english: bool, translate: Any) -> Outcome:
    """The outcome at the end, each round translating only what was asked for by then."""
    done: dict[str, Entry] = {}
    for step in range(10):
        made = outcome(TASK, row, settings, into_english, done.get)
        if not made.waiting:
            return made
        assert len(made.steps) == step + 1, "one step a round"
        done.update({text: translate(text) for text in made.steps[step]})
    raise AssertionError("never done")


@pytest.mark.parametrize(
    ("loses", "style"), [("", "brackets"), ("[", "angles"), ("[]<", "quotes"), ("]", "angles")]
)
def test_the_first_style_that_survives_is_taken(loses: str, style: str) -> None:
    made = rounds(ROW, answers(), False, shouting(loses))
    assert made.row is not None
    assert made.row["context"] == CONTEXT.upper()
    assert made.row["answers"] == [{"text": "ARDEN", "start": 14}]
    assert made.row["question"] == ROW["question"].upper()
    assert made.marks[-1] == (style, True)
    assert not any(survived for _, survived in made.marks[:-1])


def test_an_answer_that_no_style_brings_back_is_lost_and_said_to_be() -> None:
    made = rounds(ROW, answers(), False, shouting('[]<>"'))
    assert made.row is None
    assert made.reason == "answer lost"
    assert [style for style, _ in made.marks] == MARKERS


def test_a_lost_answer_is_looked_up_if_that_is_wished_and_it_is_one_place() -> None:
    made = rounds(ROW, answers(alone=True), False, shouting('[]<>"'))
    assert made.row is not None
    assert made.row["answers"] == [{"text": "ARDEN", "start": 14}]
    twice = {**ROW, "context": f"{CONTEXT} arden is old."}
    assert rounds(twice, answers(alone=True), False, shouting('[]<>"')).reason == "answer lost"


def test_several_answers_have_tags_of_their_own() -> None:
    row = {**ROW, "answers": [{"text": "kelso", "start": 34}, {"text": "arden", "start": 14}]}
    made = rounds(row, answers(), False, shouting())
    assert made.row is not None
    assert [answer["text"] for answer in made.row["answers"]] == ["KELSO", "ARDEN"]
    assert made.marks == [("tags", True)]


@pytest.mark.parametrize("loses", ["", "[", '[]<>"'])
def test_at_test_markers_never_touch_the_context(loses: str) -> None:
    """They would show a reader of the English where the answer is."""

    def marked_differently(text: str) -> Entry:
        plain = text in (CONTEXT, ROW["question"])
        return Entry(text, text.upper() if plain else shouting(loses)(f"so {text}").translation)

    made = rounds(ROW, answers(), True, marked_differently)
    assert made.row is not None
    assert made.row["context"] == CONTEXT.upper()
    found = [answer["text"] for answer in made.row["answers"]]
    assert found == ([] if loses == '[]<>"' else ["ARDEN"]), "the row stays, its answer may be lost"


def test_an_empty_translation_is_a_reason() -> None:
    nusax = registry.load("tasks", "nusax")
    made = outcome(nusax, {"id": "1", "text": "a", "label": "neutral"}, {}, False, shouting("A"))
    assert (made.row, made.reason) == (None, "empty translation")
