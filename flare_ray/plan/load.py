"""A sweep file becomes a validated sweep, or one error that lists everything wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.plan.axes import axes_problems, further, override_problems, parallels, rule_values
from flare_ray.plan.checkpoints import checkpoint_identity, known_models
from flare_ray.plan.english import English, Reads, english_of
from flare_ray.plan.extends import Fields, read_fields, without_inner
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.plan.grid import data_source
from flare_ray.plan.grid_size import empty_grid, size_problems, unreadable_data
from flare_ray.plan.language_codes import with_language_codes
from flare_ray.plan.limits import with_limits
from flare_ray.plan.schema import Sweep, Translation
from flare_ray.plan.search_problems import repeated_searches, search_problems
from flare_ray.plan.told import shown, told
from flare_ray.plan.unknown import Values, unknown_names
from flare_ray.plan.yaml_values import DEEPEST, describe, read_value

_MOST = 100
"""Problems of rules after which no further rule is looked at."""


def load_sweep(file: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep of a YAML file with `dotted.key=value` overrides. Raises InputError with every problem."""
    fields = overridden_fields(read_fields(file), overrides, str(file))
    raw = with_limits(fields.values)
    try:
        sweep, problems, sound = Sweep.model_validate(raw), [], set(Sweep.model_fields)
    except ValidationError as error:
        problems = told(error)
        sweep, sound = _sound_part(raw, error)
    if {"tasks", "data", "languages"} <= sound:
        sweep = with_language_codes(sweep)
    problems += content_problems(sweep, sound)
    if problems := problems or repeated_searches(sweep) or empty_grid(sweep):
        placed = [replace(problem, at=problem.at or fields.place(problem.where)) for problem in problems]
        may_expand = sound == set(Sweep.model_fields) and not size_problems(sweep)
        raise InvalidSweep(str(file), placed, sweep if may_expand else None)
    return sweep


class InvalidSweep(InputError):
    """A sweep file with problems. sweep: as written, where only what it names is wrong and its grid can be made."""

    def __init__(self, title: str, problems: Iterable[Problem], sweep: Sweep | None):
        super().__init__(title, problems)
        self.sweep = sweep


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str], title: str) -> dict[str, Any]:
    """`training.epochs=3` set in a copy of the mapping; values are YAML. Raises InputError."""
    return overridden_fields(Fields(raw, {}), overrides, title).values


def overridden_fields(fields: Fields, overrides: Sequence[str], title: str) -> Fields:
    """The fields with `training.epochs=3` set in a copy of them. Raises InputError."""
    result, places = deepcopy(fields.values), dict(fields.places)
    problems = []
    for override in overrides:
        key, equals, value = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts) or len(parts) > DEEPEST:
            problems.append(
                Problem("--set", repr(override), "dotted.key=value, for example training.epochs=3")
            )
            continue
        section = result
        for part in parts[:-1]:
            if not isinstance(section.get(part), dict):
                section[part] = {}
            section = section[part]
        try:
            section[parts[-1]] = read_value(value)
        except yaml.YAMLError as error:
            problems.append(Problem("--set", repr(override), f"a YAML value: {describe(error)}"))
        places = without_inner(places, ".".join(parts)) | {".".join(parts): "--set"}
    if problems:
        raise InputError(title, problems)
    return Fields(result, places)


def content_problems(sweep: Sweep, sound: set[str]) -> list[Problem]:
    """What only the files can tell: data and languages that are not there.

    Looks at the fields that passed the schema (`sound`), so that everything wrong is told at once.
    """
    problems: list[Problem] = []
    if {"models", "tasks", "methods", "searches", "seeds"} <= sound:
        problems += search_problems(sweep)
    if {"models", "tasks", "methods", "searches", "axes"} <= sound:
        problems += axes_problems(sweep)
    if {"models", "tasks", "methods", "seeds", "rank", "fusion", "axes", "languages", "data"} <= sound:
        problems += size_problems(sweep)
    if {
        "models",
        "tasks",
        "methods",
        "searches",
        "overrides",
        "training",
        "base",
        "resources",
        "reading",
    } <= sound:
        problems += override_problems(
            sweep, _target_languages(sweep) if {"languages", "data"} <= sound and sweep.overrides else None
        )
    if "models" in sound:
        problems += _repeated_models(sweep)
    rules = {
        "models",
        "tasks",
        "methods",
        "languages",
        "fusion",
        "rank",
        "axes",
        "data",
        "include",
        "exclude",
    }
    if rules <= sound and (sweep.include or sweep.exclude):
        problems += _rule_problems(sweep)
    if {"models", "tasks", "resources", "overrides"} <= sound:
        problems += _quantised_under_zero_3(sweep)
    if {"tasks", "data", "languages"} <= sound:
        problems += _data_problems(sweep, {"methods", "axes", "translation", "searches"} <= sound)
    return problems


def _target_languages(sweep: Sweep) -> list[str] | None:
    """Return the target languages of a sweep; None where its data cannot be read, which is reported by itself."""
    if sweep.languages != "all":
        return sweep.languages
    try:
        found = [registry.load("tasks", name).targets(data_source(sweep, name)) for name in sweep.tasks]
    except (OSError, InputError):
        return None
    return list(dict.fromkeys(code for codes in found for code in codes))


def _repeated_models(sweep: Sweep) -> list[Problem]:
    """Models with one name, or two names for one frozen model: their runs would be the same runs."""
    names: set[str] = set()
    checkpoints: dict[str, str] = {}
    problems = []
    for index, model in enumerate(sweep.models):
        if model.name in names:
            problems.append(Problem(f"models[{index}].name", f"{model.name!r} again", "a name of its own"))
        names.add(model.name)
        loaded = model.model_dump(include={"family", "quantization"})
        loaded["precision"] = sweep.precision or model.precision
        content = fingerprint({**loaded, **checkpoint_identity(model.checkpoint)})
        if content in checkpoints:
            found = f"the same checkpoint as {checkpoints[content]}"
            wanted = "each checkpoint once, or in another precision or quantization"
            problems.append(Problem(f"models[{index}].checkpoint", found, wanted))
        checkpoints.setdefault(content, f"models[{index}]")
    return problems


def _rule_problems(sweep: Sweep) -> list[Problem]:
    """Values in rules that the sweep does not have: a rule that matches nothing by a slip would go unseen."""
    axes: dict[str, Iterable[Any]] = {
        "model": [model.name for model in sweep.models],
        "task": list(sweep.tasks),
        "method": [entry.name for entry in sweep.methods],
        **rule_values(sweep),
        "language": [code for task in sweep.tasks for code in _languages(sweep, task)],
    }
    known = {axis: Values(values) for axis, values in axes.items()}
    problems = []
    for kind in ("include", "exclude"):
        for place, rule in enumerate(getattr(sweep, kind)):
            where, given = f"{kind}[{place}]", rule.axes
            if not given:
                problems.append(Problem(where, "a rule without an axis", registry.wanted("", axes)))
            for axis, values in given.items():
                problems += _value_problems(f"{where}.{axis}", axis, values, known)
            if len(problems) > _MOST:
                return [*problems, Problem(where, "further rules, not looked at", "the first ones put right")]
    return problems


def _value_problems(where: str, axis: str, values: list[Any], known: dict[str, Values]) -> list[Problem]:
    """What is wrong with a rule's values of an axis. known: the values that the sweep has."""
    if axis not in known:
        return [Problem(where, repr(axis), registry.wanted(axis, known))]
    if not values:
        return [Problem(where, "[]", "at least one value")]
    wrong = [value for value in values if value not in known[axis]]
    names = set(known[axis].names)
    quoted = [value for value in wrong if str(value) in names]
    return [Problem(where, shown(value), f"{value} without quotes") for value in quoted[:40]] + unknown_names(
        [(where, value) for value in wrong if str(value) not in names], known[axis].names
    )


def _languages(sweep: Sweep, task: str) -> list[str]:
    """Target languages of a task that the sweep asks for."""
    try:
        targets = registry.load("tasks", task).targets(data_source(sweep, task))
    except OSError:  # `_data_problems` names it
        return []
    return [code for code in targets if sweep.languages == "all" or code in sweep.languages]


def _quantised_under_zero_3(sweep: Sweep) -> list[Problem]:
    """bitsandbytes' weights cannot be cut into ZeRO-3's pieces (DeepSpeed#5819)."""
    return [
        Problem("resources.zero_stage", f"3 with {model.name} in {model.quantization}", "at most 2, or none")
        for model in sweep.models
        if model.quantization != "none"
        and any(sweep.resources_of(model.name, task).zero_stage == 3 for task in sweep.tasks)
    ]


def _data_problems(sweep: Sweep, reading_is_sound: bool) -> list[Problem]:
    """What is wrong with the data. reading_is_sound: whether it is known what reads it."""
    problems: list[Problem] = []
    everywhere: dict[str, None] = {}
    for name in sweep.tasks:
        try:
            task = registry.load("tasks", name)
            targets = task.targets(data_source(sweep, name))
            everywhere.update(dict.fromkeys(targets))
            problems += _task_problems(sweep, name, targets, reading_is_sound)
        except OSError as error:
            problems.append(unreadable_data(sweep, name, error))
    if sweep.languages != "all" and everywhere:
        places = ((f"languages[{index}]", code) for index, code in enumerate(sweep.languages))
        problems += unknown_names([one for one in places if one[1] not in everywhere], everywhere)
    return problems


def _task_problems(sweep: Sweep, name: str, targets: list[str], reading_is_sound: bool) -> list[Problem]:
    """What is wrong with one task's data. targets: languages that they have. Raises OSError."""
    task, source = registry.load("tasks", name), data_source(sweep, name)
    chosen = targets if sweep.languages == "all" else [code for code in sweep.languages if code in targets]
    reads = reads_of(sweep) if reading_is_sound else {"test": frozenset[English]()}
    problems: list[Problem] = task.problems(source, chosen, reads, sweep.max_dropped)
    if not problems and not targets:
        expected = "a folder of: " + ", ".join(task.languages.values())
        problems = [Problem(f"data.{name}", f"{source!r} with no target language", expected)]
    return problems + _mute_problems(sweep, name, chosen)


def _mute_problems(sweep: Sweep, task: str, languages: Sequence[str]) -> list[Problem]:
    """Methods that read with what does not know a task's language."""
    entries = [(f"methods[{place}]", entry) for place, entry in enumerate(sweep.methods)]
    entries += [
        (f"searches[{place}].method", section.method)
        for place, section in enumerate(sweep.searches)
        if section.tasks is None or task in section.tasks
    ]
    problems = []
    for where, entry in entries:
        speaks = registry.load("methods", entry.name).speaks
        if mute := [code for code in languages if not speaks(code)]:
            what = f"{entry.name} on {', '.join(mute)}"
            problems.append(Problem(where, what, "languages that its translation model knows"))
    return problems


def reads_of(sweep: Sweep) -> Reads:
    """Return the target's splits that methods read as the data has them, and the English that they read with them.

    With a translation model only test rows are read in the target language: training rows are translated.
    """
    found: dict[str, set[English]] = {"test": set()}
    texts = ["machine" if isinstance(one, Translation) else one for one in parallels(sweep)]
    for entry in [*sweep.methods, *(section.method for section in sweep.searches)]:
        method, options = registry.load("methods", entry.name), entry.model_dump(exclude={"name"})
        axes = {
            axis: values
            for axis, values in further(sweep, entry).items()
            if axis in method.Options.model_fields
        }
        for text, *values in product(texts, *axes.values()):
            given = options | dict(zip(axes, values, strict=True))
            trained = ["train", "validation"] if method.trains and text != "machine" else []
            for split in [*trained, "test"]:
                english = english_of(
                    split,
                    reads_source=method.reads_source,
                    source_at_test=method.source_at_test(given),
                    translation=text,
                )
                found.setdefault(split, set()).add(english)
    return {split: frozenset(english) for split, english in sorted(found.items())}


def _sound_part(raw: dict[str, Any], error: ValidationError) -> tuple[Sweep, set[str]]:
    """The sweep with stand-ins for its faulty fields, and the names of the others."""
    faulty = {str(detail["loc"][0]) for detail in error.errors()}
    stand_ins = {
        "name": "x",
        "models": sorted(known_models())[:1],
        "tasks": registry.names("tasks")[:1],
        "methods": registry.names("methods")[:1],
        "seeds": [0],
    }
    rest = {key: value for key, value in raw.items() if key in Sweep.model_fields and key not in faulty}
    return Sweep.model_validate(stand_ins | rest), set(Sweep.model_fields) - faulty
