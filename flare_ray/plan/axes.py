"""Which axes multiply which methods, and what is wrong with axes and overrides.

An axis multiplies a method only when it changes its result: a hyper-parameter of `training` those that train
(`max_length` all), an option those that have it (unless their entry gives it), `translation` those that read
translated text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.checkpoints import checkpoint_identity, translator
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.plan.schema import BaseTraining, Override, Range, Sweep, Training, Translation
from flare_ray.plan.told import shown
from flare_ray.plan.unknown import unknown_names

_MOST = 40
"""Wrong values of one axis of a search after which no further one is looked at."""
TRANSLATION = "translation"
TRAINING = tuple(Training.model_fields)
GROUP = (
    "workers",
    "cpus_per_worker",
    "gpus_per_worker",
    "accelerator_type",
    "zero_stage",
    "micro_batch",
    "checkpoint_seconds",
    "source_cache",
    "source_cache_mb",
    "source_cache_disk_gb",
)
"""Fields of `resources` that may differ by model and task: those of a worker group."""


def parallel(sweep: Sweep, value: str) -> Translation | str:
    """Where parallel text comes from, at a value of the axis `translation`: all but the model is the sweep's."""
    if value in ("gold", "files"):
        return value
    if isinstance(sweep.translation, Translation):
        return sweep.translation.model_copy(update={"model": value})
    return Translation(model=value)


def parallels(sweep: Sweep) -> list[Translation | str]:
    """Every source of parallel text that a sweep asks for."""
    return [parallel(sweep, value) for value in sweep.axes.given().get(TRANSLATION, [])] or [
        sweep.translation
    ]


def further(sweep: Sweep, entry: Any) -> dict[str, list[Any]]:
    """The sweep's further axes that may change what a method's entry gives, with their values."""
    return {axis: values for axis, values in sweep.axes.given().items() if _applies(axis, entry)}


def _applies(axis: str, entry: Any) -> bool:
    method = registry.load("methods", entry.name)
    if axis in method.Options.model_fields:
        return axis not in entry.model_fields_set
    if axis == TRANSLATION:
        return bool(method.trains or method.reads_source)
    return bool(axis == "max_length" or (method.trains and axis in (*TRAINING, "alpha")))


def reason(error: ValidationError) -> str:
    """What the first of pydantic's errors wants."""
    detail = error.errors()[0]
    return str(detail.get("ctx", {}).get("wanted") or detail["msg"].removeprefix("Input should be "))


def axes_problems(sweep: Sweep) -> list[Problem]:
    """Axes of no method or beside a field of the same name, and translation models that are there twice."""
    problems: list[Problem] = []
    for axis, values in sweep.axes.given().items():
        entries = [*sweep.methods, *(section.method for section in sweep.searches)]
        if not any(_applies(axis, entry) for entry in entries):
            problems.append(
                Problem(f"axes.{axis}", "an axis of no method", "a method that it changes, or no such axis")
            )
        if axis in TRAINING and axis in sweep.training.model_fields_set:
            wanted = f"one of both; the values of axes.{axis} take its place"
            problems.append(Problem(f"training.{axis}", "an axis of the sweep", wanted))
        if axis in (TRANSLATION, "mt_model"):
            problems += _repeated_translators(f"axes.{axis}", values)
    return problems + _repeated_entries(sweep)


def _repeated_translators(where: str, values: Sequence[str]) -> list[Problem]:
    """Two names of one translation model: their runs would be the same runs."""
    seen: dict[str, str] = {}
    problems = []
    for place, value in enumerate(values):
        if value in ("gold", "files"):
            continue
        content = fingerprint(checkpoint_identity(translator(value)))
        if content in seen:
            problems.append(
                Problem(f"{where}[{place}]", f"the same model as {seen[content]}", "each model once")
            )
        seen.setdefault(content, f"{where}[{place}]")
    return problems


def _repeated_entries(sweep: Sweep) -> list[Problem]:
    """Entries of methods that differ in the name of one translation model alone: the same runs again."""
    seen: dict[str, tuple[int, str]] = {}
    problems = []
    for place, entry in enumerate(sweep.methods):
        options = entry.model_dump()
        if "mt_model" not in options:
            continue
        for name in further(sweep, entry).get("mt_model", [options["mt_model"]]):
            same = fingerprint(options | {"mt_model": checkpoint_identity(translator(name))})
            other, alias = seen.setdefault(same, (place, name))
            if other != place and alias != name:
                found = f"{name}, the same model as {alias} of methods[{other}]"
                problems.append(Problem(f"methods[{place}].mt_model", found, "each model once"))
    return problems


def value_problems(where: str, axis: str, values: Sequence[Any] | Range, entry: Any | None) -> list[Problem]:
    """Values that a searched axis cannot have. entry: the method's whose option it is, None for another axis."""
    found = []
    for value in [values.low, values.high] if isinstance(values, Range) else values:
        try:
            _validate(axis, value, entry)
        except ValidationError as error:
            found.append(Problem(where, shown(value), reason(error)))
        except ValueError as error:
            found.append(Problem(where, shown(value), str(error)))
        if len(found) == _MOST:
            return [*found, Problem(where, "further values, not looked at", "the first ones put right")]
    return found


def _validate(axis: str, value: Any, entry: Any | None) -> None:
    """Values are taken as they stand, so they must be of the field's own type: no text, no 3.0 for whole numbers."""
    if axis == "fusion":
        if value not in registry.names("fusion.functions"):
            raise ValueError(registry.wanted(str(value), registry.names("fusion.functions")))
        return
    if entry is not None:
        valid = type(entry).model_validate({**entry.model_dump(), axis: value})
    elif axis in BaseTraining.model_fields:
        valid = BaseTraining.model_validate({axis: value})
    else:
        return
    taken = getattr(valid, axis)
    if type(taken) is not type(value) and not (type(taken) is float and type(value) is int):
        raise ValueError(f"{taken!r} without quotes or decimals")


def override_problems(sweep: Sweep, languages: Sequence[str] | None = None) -> list[Problem]:
    """Overrides that match nothing, or give what they cannot. languages: those of the sweep, where they are known."""
    entries = [*sweep.methods, *(section.method for section in sweep.searches)]
    known = {
        "model": [model.name for model in sweep.models],
        "task": list(sweep.tasks),
        "method": list(dict.fromkeys(entry.name for entry in entries)),
    }
    if languages is not None:
        known["language"] = list(languages)
    problems: list[Problem] = []
    for place, override in enumerate(sweep.overrides):
        where = f"overrides[{place}]"
        for axis, names in known.items():
            wrong = [value for value in getattr(override, axis) or [] if value not in names]
            problems += unknown_names([(f"{where}.{axis}", value) for value in wrong], names)
        problems += _changes_problems(sweep, override, where)
    return problems


def _changes_problems(sweep: Sweep, override: Override, where: str) -> list[Problem]:
    training, base, resources, reading = (
        getattr(override, name).model_fields_set for name in ("training", "base", "resources", "reading")
    )
    problems: list[Problem] = []
    for axis in ("method", "language"):
        if getattr(override, axis) and (base or resources):
            wanted = "training or reading alone: base models and resources belong to a model and a task"
            problems.append(Problem(f"{where}.{axis}", f"base or resources for a {axis}", wanted))
    if not (training or base or resources or reading):
        problems.append(Problem(where, "nothing to override", "training, base, reading or resources"))
    problems += [
        Problem(
            f"{where}.training.{name}", "an axis of the sweep", "one of both; `exclude` leaves out values"
        )
        for name in sorted(training & set(sweep.axes.given()))
    ]
    problems += [
        Problem(f"{where}.resources.{name}", "a field of the whole sweep", f"of a group: {', '.join(GROUP)}")
        for name in sorted(resources - set(GROUP))
    ]
    return problems


def rule_values(sweep: Sweep) -> dict[str, list[Any]]:
    """What rules may name beside models, tasks and languages: axis or option -> its values in the sweep."""
    values: dict[str, list[Any]] = {"rank": list(sweep.rank), "fusion": list(sweep.fusion)}
    for entry in sweep.methods:
        for option, value in entry.model_dump(exclude={"name"}).items():
            values.setdefault(option, []).append(value)
    for axis, given in sweep.axes.given().items():
        values[axis] = [*values.get(axis, []), *given]
    return values
