"""What a sweep's searches ask: for a model, a task and a language (or all of them), the runs of a configuration.

for question in questions(sweep):
    question.runs({"fusion": "mul", "rank": 8}, seed=1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.fingerprint import Identified
from flare_ray.plan.grid import Builder, Cell, Run
from flare_ray.plan.schema import ModelSpec, Range, Search, Sweep, Training

AXES = ("rank", "fusion", "alpha")
_TRAINING = tuple(Training.model_fields)


@dataclass(frozen=True)
class Question(Identified):
    """A search: one method on one model and task. languages: one, or those that the objective is averaged over."""

    section: Search
    builder: Builder = field(repr=False)
    model: ModelSpec
    task: str
    languages: tuple[str, ...]

    @property
    def label(self) -> str:
        """For people: model/task/language/method, searched axes."""
        where = self.languages[0] if len(self.languages) == 1 else f"{len(self.languages)} languages"
        return f"{self.model.name}/{self.task}/{where}/{self.section.method.name} ({', '.join(self.space)})"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the objective."""
        return tuple(self.builder.sweep.seeds[: self.section.seeds])

    @property
    def space(self) -> dict[str, Any]:
        """Axis -> values, or {low, high, log}."""
        found = self.section.space
        return {axis: v.model_dump() if isinstance(v, Range) else list(v) for axis, v in found.items()}

    @property
    def identity(self) -> dict[str, Any]:  # type: ignore[override]
        """What is asked: the runs of one point of the space stand for all settings outside of it."""
        point = {axis: v["low"] if isinstance(v, dict) else v[0] for axis, v in self.space.items()}
        runs = [run.fingerprint for run in self.runs(point, self.seeds[0])]
        return {"kind": "search", "space": self.space, "runs": runs, "seeds": list(self.seeds)}

    def runs(self, config: Mapping[str, Any], seed: int) -> tuple[Run, ...]:
        """A configuration's runs with a seed, one for each language."""
        return tuple(self.builder.run(self._cell(config, language), seed) for language in self.languages)

    def _cell(self, config: Mapping[str, Any], language: str) -> Cell:
        entry, sweep = self.section.method, self.builder.sweep
        method = registry.load("methods", entry.name)
        values: dict[str, Any] = {"rank": sweep.rank[0], "fusion": sweep.fusion[0]}
        axes = {axis: config.get(axis, values[axis]) for axis in method.axes}
        axes |= {axis: v for axis, v in config.items() if axis not in method.Options.model_fields}
        mine = {axis: v for axis, v in config.items() if axis in method.Options.model_fields}
        chosen = type(entry).model_validate({**entry.model_dump(), **mine})
        options = tuple(chosen.model_dump(exclude={"name"}, exclude_defaults=True).items())
        return Cell(self.model, self.task, language, entry.name, tuple(axes.items()), options)


def questions(sweep: Sweep, builder: Builder | None = None) -> list[Question]:
    """The searches of a validated sweep, one by one."""
    builder = builder or Builder(sweep)
    found = []
    for section in sweep.searches:
        models = [model for model in sweep.models if section.models is None or model.name in section.models]
        for model, task in product(models, section.tasks or sweep.tasks):
            languages = builder.languages(model, task)
            groups = [tuple(languages)] if section.over == "languages" else [(one,) for one in languages]
            found += [Question(section, builder, model, task, group) for group in groups]
    return found


def search_problems(sweep: Sweep) -> list[Problem]:
    """What is wrong with the searches: axes that the method has not, values that the axis cannot have."""
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
        method = registry.load("methods", section.method.name)
        options = list(method.Options.model_fields)
        axes = [axis for axis in AXES if axis in method.axes or (axis == "alpha" and method.trains)]
        axes += list(_TRAINING) if method.trains else []
        problems += _unknown(f"{where}.space", list(section.space), [*axes, *options])
        for axis, values in section.space.items():
            problems += _values_problems(f"{where}.space.{axis}", axis, values, section, axis in options)
    return problems


def _unknown(where: str, given: Sequence[str], known: Sequence[str]) -> list[Problem]:
    return [Problem(where, repr(name), registry.wanted(name, known)) for name in given if name not in known]


def _values_problems(where: str, axis: str, values: Any, section: Search, is_option: bool) -> list[Problem]:
    """Each value is what the axis takes anywhere else in a sweep."""
    if axis == "fusion":
        given = values if isinstance(values, list) else [repr(values)]
        return _unknown(where, [str(value) for value in given], registry.names("fusion.functions"))
    some = [values.low, values.high] if isinstance(values, Range) else values
    bad = []
    for value in some:
        try:
            if is_option:
                type(section.method).model_validate({**section.method.model_dump(), axis: value})
            elif axis in ("rank", "alpha"):
                if not isinstance(value, int if axis == "rank" else (int, float)) or value <= 0:
                    raise ValueError("a number above 0" if axis == "alpha" else "a whole number above 0")
            elif axis in _TRAINING:
                Training.model_validate({axis: value})
        except ValueError as error:
            bad.append(
                Problem(where, repr(value), " ".join(str(error).split("\n")[-2:]).strip() or "a value of it")
            )
    return bad
