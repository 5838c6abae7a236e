"""What is wrong with a sweep's searches, all of it: axes, values, combinations of options, one search made twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

from pydantic import ValidationError

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.axes import TRAINING, further, reason, value_problems
from flare_ray.plan.rules import NAMED
from flare_ray.plan.schema import Range, Search, Sweep
from flare_ray.plan.search import questions
from flare_ray.plan.unknown import unknown_names

MOST_COMBINATIONS = 10_000
"""Combinations of a method's options in one search, each of which is checked."""


def search_problems(sweep: Sweep) -> list[Problem]:
    """Searches that cannot be made as written."""
    problems: list[Problem] = []
    if not (sweep.methods or sweep.searches):
        problems.append(Problem("methods", "none", "at least one value, or a search in `searches`"))
    for place, section in enumerate(sweep.searches):
        where = f"searches[{place}]"
        names = [model.name for model in sweep.models]
        problems += _unknown(f"{where}.models", section.models or [], names)
        problems += _unknown(f"{where}.tasks", section.tasks or [], sweep.tasks)
        if (section.seeds or 1) > len(sweep.seeds):
            problems.append(
                Problem(f"{where}.seeds", str(section.seeds), f"at most {len(sweep.seeds)}, the sweep's")
            )
        wrong = _space_problems(f"{where}.space", section)
        problems += wrong or _contradictions(f"{where}.space", section, sweep)
    return problems


def _space_problems(where: str, section: Search) -> list[Problem]:
    """Axes that the method has not, and values that the axis cannot have."""
    method = registry.load("methods", section.method.name)
    options = list(method.Options.model_fields)
    axes = [axis for axis in NAMED if axis in method.axes]
    axes += ["alpha", *TRAINING] if method.trains else []
    problems = _unknown(where, list(section.space), [*axes, *options])
    for axis, values in section.space.items():
        entry = section.method if axis in options else None
        problems += value_problems(f"{where}.{axis}", axis, values, entry)
    return problems


def _contradictions(where: str, section: Search, sweep: Sweep) -> list[Problem]:
    """Options that are right by themselves and not together: what proposes configurations may draw any of a space."""
    entry, options = section.method, type(section.method).model_fields
    fixed = {axis: first for axis, (first, *_) in further(sweep, entry).items() if axis in options}
    drawn = {axis: _ends(values) for axis, values in section.space.items() if axis in options}
    if (count := prod(map(len, drawn.values()))) > MOST_COMBINATIONS:
        expected = f"at most {MOST_COMBINATIONS:,}: fewer values, {{low, high}}, or several searches"
        return [Problem(where, f"{count:,} combinations of {', '.join(drawn)}", expected)]
    found: dict[str, str] = {}
    for values in product(*drawn.values()):
        chosen = fixed | dict(zip(drawn, values, strict=True))
        try:
            type(entry).model_validate(entry.model_dump() | chosen)
        except ValidationError as error:
            together = ", ".join(f"{axis}={value}" for axis, value in chosen.items())
            found.setdefault(reason(error), together)
    return [
        Problem(where, together, f"{why}; what cannot go together in searches of its own")
        for why, together in found.items()
    ]


def _ends(values: Sequence[Any] | Range) -> Sequence[Any]:
    return [values.low, values.high] if isinstance(values, Range) else values


def repeated_searches(sweep: Sweep) -> list[Problem]:
    """Sections that ask one question by one sampler: they would continue with each other's configurations.

    Reads what the data and checkpoints are, so the rest of the sweep must be sound.
    """
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, section in enumerate(sweep.searches):
        alike[section.method.name, frozenset(section.space)].append(place)
    places = [place for group in alike.values() for place in group if len(group) > 1]
    first: dict[tuple[str, str], int] = {}
    problems = (_repeated(sweep, place, first) for place in places)
    return [problem for problem in problems if problem]


def _repeated(sweep: Sweep, place: int, first: dict[tuple[str, str], int]) -> Problem | None:
    """Return the problem of a section that repeats another. first: which section asked each question first."""
    alone = sweep.model_copy(update={"searches": [sweep.searches[place]]})
    for question in questions(alone):
        for sampler in question.section.samplers:
            other = first.setdefault((question.fingerprint, sampler), place)
            if other != place:
                got = f"{question.label} by {sampler}, as in searches[{other}]"
                return Problem(f"searches[{place}]", got, "each search in one section")
    return None


def _unknown(where: str, given: Sequence[str], known: Sequence[str]) -> list[Problem]:
    every = set(known)
    return unknown_names([(where, name) for name in given if name not in every], known)
