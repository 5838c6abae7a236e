"""What pydantic finds wrong with a sweep file, in our words: the place, what is there, what is wanted.

Where a field may be one thing or another, pydantic tells what is wrong with it as each of them. Told is what is wrong
with the one that it looks like, or once that it is none.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.schema import Section, Sweep
from flare_ray.plan.yaml_values import core_value

_TAGS = ("function-", "list[", "literal[", "constrained-")
_TYPES = ("str", "int", "float", "bool", "Range")
"""What pydantic adds to a place to tell which of several types it tried."""
_MOST = 500
"""Errors of one validation that become problems; of the others there is the number."""
_TRUE, _FALSE = ("yes", "on", "y", "true", "1"), ("no", "off", "n", "false", "0")
_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxdict, _repr.maxlist = 4, 8, 8
_repr.maxstring, _repr.maxother, _repr.maxlong = 200, 200, 110


def told(error: ValidationError) -> list[Problem]:
    """The problems of one validation, each once."""
    details = error.errors(include_url=False)
    every = [(_problem(detail), detail["type"]) for detail in details[:_MOST]]
    parents = {parent for problem, _ in every for parent in _parents(problem.where)}
    found: dict[tuple[str, str], Problem] = {}
    for problem, kind in every:
        other = kind.endswith("_type") or kind == "literal_error"
        if other and problem.where in parents:
            continue
        key = (problem.where, problem.found)
        before = f"{found[key].wanted} or " if key in found and problem.wanted != found[key].wanted else ""
        found[key] = Problem(*key, before + problem.wanted)
    problems = list(found.values())
    if len(details) > _MOST:
        found_more = f"{len(details) - _MOST:,} errors more"
        problems.append(Problem("FILE", found_more, "a sweep file; put the first ones right"))
    return problems


def shown(value: Any) -> str:
    """Return a value as Python writes it, bounded: of a long list, mapping or text the beginning."""
    return repr(value) if isinstance(value, str) and len(value) < 200 else _repr.repr(value)


def _parents(where: str) -> Iterable[str]:
    """Yield the places that a place stands in."""
    while (cut := max(where.rfind("."), where.rfind("["))) >= 0:
        where = where[:cut]
        yield where


def _problem(detail: Any) -> Problem:
    """One pydantic error in our words."""
    loc = detail["loc"]
    where = _dotted(_without_tag(loc))
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return Problem(
            where, "an unknown key", registry.wanted(str(detail["loc"][-1]), _siblings(detail["loc"]))
        )
    if kind == "invalid_key":
        return Problem(where, f"the key {shown(value)}", "a name: keys are strings")
    if kind == "missing":
        return Problem(where, "nothing", "a value: this field has no default")
    if kind == "too_short":
        return Problem(where, shown(value), "at least one value")
    said = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    expected = context.get("wanted") or said + _remedy(kind, value)
    return Problem(where, context.get("found") or shown(value), expected)


def _remedy(kind: str, value: Any) -> str:
    """Return what to write instead of a value of another type; empty where nothing is known of it."""
    if kind == "bool_type":
        word = str(value).lower()
        return ": write true" if word in _TRUE else ": write false" if word in _FALSE else ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f": put {str(value).lower() if isinstance(value, bool) else value} in quotes"
    if kind in ("int_type", "float_type", "literal_error") and isinstance(value, str):
        return _number_remedy(value)
    if kind in ("int_type", "float_type") and isinstance(value, bool):
        return ", not true or false"
    return ""


def _number_remedy(text: str) -> str:
    try:
        number = core_value(text.replace("_", ""))
    except ValueError:
        return ""
    if isinstance(number, int | float) and not isinstance(number, bool):
        return f": write {number}, without {'_' if '_' in text else 'quotes'}"
    if text.replace(":", "").isdigit():
        return ": write it without colons"
    return ""


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
