"""What pydantic finds wrong with a sweep file, in our words: the place, what is there, what is wanted.

Where a field may be one thing or another, pydantic tells what is wrong with it as each of them. Told is what is wrong
with the one that it looks like, or once that it is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.schema import Section, Sweep

_TAGS = ("function-", "list[", "literal[", "constrained-")
_TYPES = ("str", "int", "float", "bool", "Range")
"""What pydantic adds to a place to tell which of several types it tried."""


def told(error: ValidationError) -> list[Problem]:
    """The problems of one validation, each once."""
    every = [(_problem(detail), detail["type"]) for detail in error.errors()]
    found: dict[tuple[str, str], Problem] = {}
    for problem, kind in every:
        inside = (f"{problem.where}.", f"{problem.where}[")
        other = kind.endswith("_type") or kind == "literal_error"
        if other and any(one.where.startswith(inside) for one, _ in every):
            continue
        key = (problem.where, problem.found)
        before = f"{found[key].wanted} or " if key in found else ""
        found[key] = Problem(*key, before + problem.wanted)
    return list(found.values())


def _problem(detail: Any) -> Problem:
    """One pydantic error in our words."""
    loc = detail["loc"]
    where = _dotted(_without_tag(loc))
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(
            where, "an unknown key", registry.wanted(str(detail["loc"][-1]), _siblings(detail["loc"]))
        )
    if kind == "invalid_key":
        return Problem(where, f"the key {detail['input']!r}", "a name: keys are strings")
    if kind == "missing":
        return Problem(where, "nothing", "a value: this field has no default")
    if kind == "too_short":
        return Problem(where, repr(detail["input"]), "at least one value")
    said = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return Problem(where, repr(detail["input"]), context.get("wanted") or said)


def _without_tag(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """The place without what pydantic adds to tell which of several sections it is."""
    tagged = {"methods": 2, "translation": 1}.get(str(loc[0]), len(loc))
    return loc[:tagged] + loc[tagged + 1 :]


def _dotted(loc: Iterable[Any]) -> str:
    text = ""
    for part in loc:
        if part == "[key]":  # pydantic's mark of an error in a mapping's key: the key itself stands before it
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (str(part) in _TYPES or str(part).startswith(_TAGS)):
            text += f".{part}" if text else str(part)
    return text


def _siblings(loc: tuple[Any, ...]) -> list[str]:
    """The fields of the section that an unknown key stands in."""
    section: type[BaseModel] = Sweep
    if loc[0] == "methods" and len(loc) > 2:
        return list(registry.load("methods", loc[2]).Options.model_fields)
    for part in loc[:-1]:
        if isinstance(part, int) or part not in section.model_fields:
            continue
        annotation = section.model_fields[part].annotation
        options = [annotation, *get_args(annotation)]
        options += [inner for option in options for inner in get_args(option)]
        nested = [o for o in options if isinstance(o, type) and issubclass(o, Section)]
        section = nested[0] if nested else section
    return list(section.model_fields)
