"""What a sweep's searches ask: for a model, a task and a language (or all of them), the runs of a configuration.

for question in questions(sweep):
    question.runs({"fusion": "mul", "rank": 8}, seed=1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from flare_ray import registry
from flare_ray.plan.axes import further
from flare_ray.plan.fingerprint import Identified
from flare_ray.plan.grid import Builder, Cell, Run
from flare_ray.plan.schema import ModelSpec, Range, Search, Sweep


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
        runs = [run.fingerprint for run in self.examples]
        return {"kind": "search", "space": self.space, "runs": runs, "seeds": list(self.seeds)}

    @property
    def examples(self) -> tuple[Run, ...]:
        """The runs of one configuration with one seed: they read the same splits as all others."""
        return self.runs(self._first, self.seeds[0])

    @property
    def reach(self) -> tuple[Run, ...]:
        """Runs that together read, and take of a machine, what any configuration may: each value of an axis once."""
        points = [
            self._first | {axis: value}
            for axis, v in self.space.items()
            for value in ((v["low"], v["high"]) if isinstance(v, dict) else v)
        ]
        runs = [run for seed in self.seeds for point in points for run in self.runs(point, seed)]
        return tuple({run.fingerprint: run for run in runs}.values())

    @property
    def _first(self) -> dict[str, Any]:
        return {axis: v["low"] if isinstance(v, dict) else v[0] for axis, v in self.space.items()}

    def runs(self, config: Mapping[str, Any], seed: int) -> tuple[Run, ...]:
        """A configuration's runs with a seed, one for each language."""
        return tuple(self.builder.run(self._cell(config, language), seed) for language in self.languages)

    def _cell(self, config: Mapping[str, Any], language: str) -> Cell:
        entry, sweep = self.section.method, self.builder.sweep
        method = registry.load("methods", entry.name)
        values: dict[str, Any] = {"rank": sweep.rank[0], "fusion": sweep.fusion[0]}
        axes = {axis: values[axis] for axis in method.axes}
        axes |= {axis: first for axis, (first, *_) in further(sweep, entry).items()}
        return self.builder.cell(self.model, self.task, language, entry, axes | dict(config))


def questions(sweep: Sweep, builder: Builder | None = None) -> list[Question]:
    """The searches of a validated sweep, one by one."""
    builder = builder or Builder(sweep)
    found = []
    for section in sweep.searches:
        models = [model for model in sweep.models if section.models is None or model.name in section.models]
        for model, task in product(models, section.tasks or sweep.tasks):
            languages = builder.languages(model, task)
            groups = [tuple(languages)] if section.over == "languages" else [(one,) for one in languages]
            found += [Question(section, builder, model, task, group) for group in groups if group]
    return found
