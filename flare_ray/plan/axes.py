"""Axes beside the named ones: which methods each multiplies, and what values it takes.

    axes: {learning_rate: [1.0e-4, 5.0e-4], source_offset: [1, 0], translation: [nllb-200-3.3b, gold]}

An axis multiplies a method only when it changes its result: a hyper-parameter of `training` those that train, an
option those that have it (unless their entry gives it), `translation` those that read translated text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.corpora import wanted
from flare_ray.plan.schema import Range, Section, Sweep, Training, Translation
from flare_ray.plan.sections import Parallel

TRANSLATION = "translation"
NAMED = ("rank", "fusion", "alpha")
TRAINING = tuple(Training.model_fields)
_PARALLEL: TypeAdapter[Any] = TypeAdapter(Parallel)


def parallel(value: Any) -> Translation | str:
    """Where parallel text comes from, of a value of the axis `translation`. Raises ValidationError."""
    return _PARALLEL.validate_python(value)


def parallels(sweep: Sweep) -> list[Translation | str]:
    """Every source of parallel text that a sweep asks for."""
    return [parallel(value) for value in sweep.axes.get(TRANSLATION, [])] or [sweep.translation]


def further(sweep: Sweep, entry: Any) -> dict[str, list[Any]]:
    """The sweep's further axes that multiply a method's entry, with their values."""
    method = registry.load("methods", entry.name)
    found = {}
    for axis, values in sweep.axes.items():
        if axis in method.Options.model_fields:
            applies = axis not in entry.model_fields_set
        elif axis == TRANSLATION:
            options = entry.model_dump(exclude={"name"})
            applies = method.reads_source or bool(
                wanted(method.trains, method.source_at_test(options), method.reads_source)
            )
        else:
            applies = method.trains
        if applies:
            found[axis] = values
    return found


def axes_problems(sweep: Sweep) -> list[Problem]:
    """Axes that no method of the sweep has, and values that they cannot have."""
    problems: list[Problem] = []
    named = set(NAMED) - {"alpha"}
    for axis, values in sweep.axes.items():
        where = f"axes.{axis}"
        if axis in named:
            problems.append(Problem(where, "an axis of its own", f"the field {axis} of the sweep"))
            continue
        mine = [entry for entry in sweep.methods if axis in further(sweep, entry)]
        options = [
            entry for entry in mine if axis in registry.load("methods", entry.name).Options.model_fields
        ]
        known = {*TRAINING, TRANSLATION, "alpha", *_options(sweep)}
        if axis not in known:
            problems.append(Problem(where, repr(axis), registry.wanted(axis, sorted(known))))
        elif not mine:
            problems.append(
                Problem(where, "an axis of no method", "a method that has it, or no such axis")
            )
        for entry in options[:1] or [None]:
            problems += value_problems(where, axis, values, entry) if axis in known else []
    return problems


def _options(sweep: Sweep) -> list[str]:
    return [
        name for entry in sweep.methods for name in registry.load("methods", entry.name).Options.model_fields
    ]


def value_problems(where: str, axis: str, values: Sequence[Any] | Range, entry: Any | None) -> list[Problem]:
    """Values that an axis cannot have. entry: the method's whose option it is, None for another axis."""
    found = []
    for value in [values.low, values.high] if isinstance(values, Range) else values:
        try:
            _validate(axis, value, entry)
        except ValidationError as error:
            detail = error.errors()[0]
            wanted = detail.get("ctx", {}).get("wanted") or detail["msg"].removeprefix("Input should be ")
            found.append(Problem(where, repr(value), wanted))
        except ValueError as error:
            found.append(Problem(where, repr(value), str(error)))
    return found


def _validate(axis: str, value: Any, entry: Any | None) -> None:
    if axis == "fusion":
        if value not in registry.names("fusion.functions"):
            raise ValueError(registry.wanted(str(value), registry.names("fusion.functions")))
    elif axis in ("rank", "alpha"):
        if not isinstance(value, int if axis == "rank" else (int, float)) or value <= 0:
            raise ValueError("a number above 0" if axis == "alpha" else "a whole number above 0")
    elif axis == TRANSLATION:
        if not isinstance(value, str):
            raise ValueError("a translation model by its name, gold, or files")
        parallel(value)
    elif axis in TRAINING:
        Training.model_validate({axis: value})
    elif entry is not None:
        type(entry).model_validate({**entry.model_dump(), axis: value})


def override_problems(sweep: Sweep) -> list[Problem]:
    """Overrides that match nothing, or give what they cannot."""
    problems: list[Problem] = []
    known = {
        "model": [model.name for model in sweep.models],
        "task": list(sweep.tasks),
        "method": list(
            dict.fromkeys(entry.name for entry in [*sweep.methods, *(s.method for s in sweep.searches)])
        ),
    }
    for place, override in enumerate(sweep.overrides):
        where = f"overrides[{place}]"
        for axis, names in known.items():
            problems += [
                Problem(f"{where}.{axis}", repr(value), registry.wanted(str(value), names))
                for value in getattr(override, axis) or []
                if value not in names
            ]
        for name in ("training", "base", "resources"):
            problems += _section_problems(f"{where}.{name}", getattr(sweep, name), getattr(override, name))
        if override.method and (override.base or override.resources):
            found = "base or resources for a method"
            problems.append(
                Problem(f"{where}.method", found, "training alone: those belong to a model and a task")
            )
        if not (override.training or override.base or override.resources):
            problems.append(Problem(where, "nothing to override", "training, base or resources"))
    return problems


def _section_problems(where: str, section: Section, given: dict[str, Any]) -> list[Problem]:
    try:
        type(section).model_validate(section.model_dump() | given)
    except ValidationError as error:
        return [
            Problem(
                ".".join([where, *map(str, detail["loc"])]),
                "an unknown key" if detail["type"] == "extra_forbidden" else repr(detail["input"]),
                registry.wanted(str(detail["loc"][-1]), type(section).model_fields)
                if detail["type"] == "extra_forbidden"
                else detail["msg"].removeprefix("Input should be "),
            )
            for detail in error.errors()
        ]
    return []
