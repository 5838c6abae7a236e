"""How question answering is read, as the settings of a run: what is the default, or read by nothing, is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flare_ray.plan.sections import QuestionReading

if TYPE_CHECKING:
    from flare_ray.models.base import Family
    from flare_ray.tasks.base import Task


def reading_settings(given: QuestionReading, task: Task, family: Family) -> dict[str, Any]:
    """Return `max_answer` and `windows` where they change how a family reads a task."""
    if task.kind != "question_answering":
        return {}
    usual = QuestionReading()
    settings: dict[str, Any] = {}
    if given.max_answer != usual.max_answer:
        settings["max_answer"] = given.max_answer
    if given.windows and family.forms[task.kind] == "generation":
        settings["windows"] = True
    return settings
