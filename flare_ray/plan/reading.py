"""How question answering is read, as the settings of a run: what is the default, or read by nothing, is left out."""

from __future__ import annotations

from typing import Any

from flare_ray.plan.sections import QuestionReading


def reading_settings(given: QuestionReading, kind: str, form: str) -> dict[str, Any]:
    """Return `max_answer` and `windows` where they change how a kind of task is read in a form."""
    if kind != "question_answering":
        return {}
    usual = QuestionReading()
    settings: dict[str, Any] = {}
    if given.max_answer != usual.max_answer:
        settings["max_answer"] = given.max_answer
    if given.windows and form == "generation":
        settings["windows"] = True
    return settings
