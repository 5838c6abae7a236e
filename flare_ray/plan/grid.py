"""From a sweep to its cells and runs.

Axes are conditional: a method is multiplied only by the axes that change its result, so the product has no
duplicates. What the runs of a cell share, and the cells of a sweep, is found once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Any

from flare_ray import registry
from flare_ray.plan.axes import TRANSLATION, parallel
from flare_ray.plan.cells import Base, Cell, Grid, Run, Skipped
from flare_ray.plan.checkpoints import checkpoint_identity
from flare_ray.plan.corpora import Corpus, corpus, wanted
from flare_ray.plan.decoding import decoding_before
from flare_ray.plan.fingerprint import Part
from flare_ray.plan.points import Place
from flare_ray.plan.reading import reading_settings
from flare_ray.plan.rules import overridden
from flare_ray.plan.schema import ModelSpec, Rule, Sweep, Training, Translation
from flare_ray.plan.shapes import shape_of
from flare_ray.plan.versions import base_version, run_version

__all__ = [
    "Base",
    "Builder",
    "Cell",
    "Grid",
    "Run",
    "Skipped",
    "data_source",
    "expand",
    "ruled_out",
]

_OPTIONAL = ("validate_every", "max_steps")
"""Fields of `training` that are no setting when they are left out."""


def ruled_out(cell: Cell, sweep: Sweep, place: Place) -> str | None:
    """Why the sweep's rules leave a cell out; None when they do not. A rule on an axis that a cell lacks misses.

    A null in a rule stands for what it does in an axis.
    """
    if not (sweep.include or sweep.exclude):
        return None
    point = {
        "model": cell.model.name,
        "task": cell.task,
        "language": cell.language,
        "method": cell.method,
        **_options(cell.method, cell.options),
        **dict(cell.axes),
    }
    meant = place.meant(cell.method, point)

    def is_one(axis: str, values: list[Any]) -> bool:
        usual = meant.get(axis)
        mine = point[axis] if point[axis] is not None else usual
        return mine in values or (mine == usual and None in values)

    def matches(rule: Rule) -> bool:
        return all(axis in point and is_one(axis, values) for axis, values in rule.axes.items())

    if sweep.include and not any(map(matches, sweep.include)):
        return "no rule of include matches"
    found = next((number for number, rule in enumerate(sweep.exclude) if matches(rule)), None)
    return None if found is None else f"exclude[{found}]"


def _english_of(method: Any, task: Any) -> list[str]:
    return [task.source_language] if method.reads_source else []


@lru_cache(maxsize=1024)
def _options(method: str, given: tuple[tuple[str, Any], ...]) -> Mapping[str, Any]:
    """Return all options of a method, those that are given and the others at their default."""
    return MappingProxyType(registry.load("methods", method).Options(**dict(given)).model_dump())


def data_source(sweep: Sweep, task: str) -> str:
    """Where a task's rows come from: the sweep's `data`, else the task's hub id."""
    return sweep.data.get(task, registry.load("tasks", task).hub)


def expand(sweep: Sweep) -> Grid:
    """The grid of a validated sweep."""
    builder = Builder(sweep)
    runs: list[Run] = []
    for model, task in product(sweep.models, sweep.tasks):
        for language in builder.languages(model, task):
            for cell in builder.cells(model, task, language):
                runs += [builder.run(cell, seed) for seed in sweep.seeds]
    return Grid(tuple(runs), tuple(builder.skipped))


class Builder:
    """Resolves what the runs of one sweep share, each once."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self.skipped: list[Skipped] = []
        self._models: dict[str, dict[str, Any]] = {}
        self._data_known: dict[tuple[str, ...], Any] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._points_known: dict[tuple[str, str], list[tuple[str, Any, Any]]] = {}
        self._trainings: dict[tuple[str | None, ...], dict[str, Any]] = {}
        self._bases: dict[tuple[str, str, int], Base] = {}
        self._corpora_known: dict[tuple[int, str, str, str], Corpus] = {}
        self._parallels: dict[str | None, Translation | str] = {}
        self._cell: tuple[Cell, dict[str, Any], tuple[Corpus, ...], dict[str, Any]] | None = None

    def languages(self, model: ModelSpec, task: str) -> list[str]:
        """Target languages of a task that the sweep asks for; notes those that it does not get."""
        source = data_source(self.sweep, task)
        targets = registry.load("tasks", task).targets(source)
        if self.sweep.languages == "all":
            left_out = registry.load("tasks", task).skipped(source)
            self.skipped += [Skipped(f"{model.name}/{task}/{name}", why) for name, why in left_out.items()]
            return targets
        for language in self.sweep.languages:
            if language not in targets:
                label = f"{model.name}/{task}/{language}"
                self.skipped.append(Skipped(label, f"{task} has no {language} in {source}"))
        return [language for language in self.sweep.languages if language in targets]

    def cells(self, model: ModelSpec, task: str, language: str) -> Iterator[Cell]:
        """The grid's cells there; notes those that are ruled out."""
        for method, axes, options in self._points(model, task):
            cell = Cell(model, task, language, method, axes, options)
            if reason := ruled_out(cell, self.sweep, self._place(model, task)):
                self.skipped.append(Skipped(cell.label, reason))
            else:
                yield cell

    def cell(self, model: ModelSpec, task: str, language: str, entry: Any, point: Mapping[str, Any]) -> Cell:
        """The cell of a method's entry at a point of its axes, of the grid or not."""
        settled = self._place(model, task).settled(entry, point)
        return Cell(model, task, language, entry.name, *settled)

    def _place(self, model: ModelSpec, task: str) -> Place:
        key = (model.name, task)
        if key not in self._places:
            shape, table = shape_of(model.checkpoint), self._over_table(Training(), model, task)
            self._places[key] = Place(self.sweep, task, shape.layers if shape else None, table)
        return self._places[key]

    def _points(self, model: ModelSpec, task: str) -> list[tuple[str, Any, Any]]:
        """Method, axes and options of the cells of every language, each once; notes points that cannot be."""
        key = (model.name, task)
        if key not in self._points_known:
            found: dict[str, tuple[str, Any, Any]] = {}
            for entry in self.sweep.methods:
                for axes, options in self._place(model, task).points(entry):
                    if isinstance(axes, str):
                        self.skipped.append(Skipped(f"{model.name}/{task}/{axes}", str(options)))
                    else:
                        point = (entry.name, axes, options)
                        found.setdefault(repr(point), point)
            self._points_known[key] = list(found.values())
        return self._points_known[key]

    def _base(self, model: ModelSpec, task: str, seed: int) -> Base:
        key = (model.name, task, seed)
        if key not in self._bases:
            wanted = overridden("base", self.sweep.base, self.sweep.overrides, model.name, task)
            settings = {
                **self._training("base", model, task),
                "rank": wanted.rank,
                "alpha": wanted.alpha or 2 * wanted.rank,
                **self._reading(model, task),
                **self._limit,
            }
            english = registry.load("tasks", task).source_language
            identity = {
                "kind": "base",
                "version": base_version(settings["precision"]),
                "model": self._model(model),
                "task": task,
                "data": self._data(task, english),
                "settings": settings,
                "seed": seed,
                **self._kinds(model, task, [english]),
            }
            self._bases[key] = Base(
                model, task, data_source(self.sweep, task), seed, settings, identity, self.sweep.max_dropped
            )
        return self._bases[key]

    def run(self, cell: Cell, seed: int) -> Run:
        """A cell with a seed, of the grid or not. Its axes may be any that a method's settings have."""
        if self._cell is None or self._cell[0] is not cell:
            self._cell = (cell, *self._of_cell(cell))
        _, settings, corpora, shared = self._cell
        base = self._base(cell.model, cell.task, seed)
        return Run(cell, seed, base, settings, {**shared, "base": base.fingerprint, "seed": seed}, corpora)

    def _of_cell(self, cell: Cell) -> tuple[dict[str, Any], tuple[Corpus, ...], dict[str, Any]]:
        """What a cell's runs share: settings, translated splits, and all of their identity but base and seed."""
        method = registry.load("methods", cell.method)
        task = registry.load("tasks", cell.task)
        axes = dict(cell.axes)
        chosen = self._parallel(axes.pop(TRANSLATION, None))
        mt = chosen if isinstance(chosen, Translation) else None
        training = self._training("training", cell.model, cell.task, cell.method, cell.language)
        training = {name: value for name, value in (training | axes).items() if value is not None}
        data = {"target": self._data(cell.task, cell.language)}
        settings: dict[str, Any] = {
            "max_length": training["max_length"],
            **self._reading(cell.model, cell.task, cell.method, cell.language),
            **method.Options(**dict(cell.options)).model_dump(),
            **self._limit,
        }
        if method.reads_source:
            data["source"] = self._data(cell.task, task.source_language)
            settings["translation"] = "gold" if mt else chosen
        splits = wanted(method.trains, method.source_at_test(settings), method.reads_source)
        if chosen == "files" and "test" in splits:
            data["target"] = {**data["target"], **self._english(cell.task, cell.language)}
        corpora = tuple(self._corpus(mt, cell.task, cell.language, split) for split in splits if mt)
        if corpora:
            settings["translation"] = "machine"
            data["translated"] = {one.split: one.fingerprint for one in corpora}
        if method.trains:
            settings |= training
            settings["alpha"] = axes.get("alpha", self.sweep.alpha) or 2 * axes["rank"]
        known = dict(settings)
        if encoder := method.translator(settings):
            known["mt_model"] = self._checkpoint(encoder)
        shared = {
            "kind": "run",
            "version": [run_version(settings.get("precision")), method.VERSION],
            "method": cell.method,
            "language": cell.language,
            "data": Part(data),
            "settings": Part(known),
            **self._kinds(cell.model, cell.task, [cell.language, *_english_of(method, task)]),
        }
        return settings, corpora, shared

    def _parallel(self, value: str | None) -> Translation | str:
        """Where a cell's parallel text comes from. value: of its axis `translation`, if it has one."""
        if value not in self._parallels:
            self._parallels[value] = self.sweep.translation if value is None else parallel(self.sweep, value)
        return self._parallels[value]

    def _corpus(self, mt: Translation, task: str, language: str, split: str) -> Corpus:
        key = (id(mt), task, language, split)
        if key not in self._corpora_known:
            source = data_source(self.sweep, task)
            self._corpora_known[key] = corpus(
                task, source, language, split, mt, self._checkpoint, self.sweep.max_dropped, self.sweep.limit
            )
        return self._corpora_known[key]

    def _training(
        self,
        section: str,
        model: ModelSpec,
        task: str,
        method: str | None = None,
        language: str | None = None,
    ) -> dict[str, Any]:
        """The sweep's values (`training` or `base`), as overridden, over the paper's Table 5."""
        key = (section, model.name, task, method, language)
        if key not in self._trainings:
            own = getattr(self.sweep, section)
            given = overridden(section, own, self.sweep.overrides, model.name, task, method, language)
            self._trainings[key] = self._over_table(given, model, task)
        return self._trainings[key]

    def _reading(
        self, model: ModelSpec, task: str, method: str | None = None, language: str | None = None
    ) -> dict[str, Any]:
        """Return how a task's questions are read, as far as that is not the default."""
        own, overrides = self.sweep.reading, self.sweep.overrides
        given = overridden("reading", own, overrides, model.name, task, method, language)
        kind = registry.load("tasks", task).kind
        return reading_settings(given, kind, registry.load("models", model.family).forms[kind])

    def _over_table(self, given: Training, model: ModelSpec, task: str) -> dict[str, Any]:
        family = registry.load("models", model.family)
        table = registry.load("tasks", task).hyperparameters(family.architecture)
        fields = set(Training.model_fields)
        chosen = given.model_dump(include=fields)
        chosen |= {key: value for key, value in vars(table).items() if chosen[key] is None}
        chosen = {name: value for name, value in chosen.items() if value is not None or name not in _OPTIONAL}
        return chosen | {"precision": self.sweep.precision or model.precision}

    @property
    def _limit(self) -> dict[str, int]:
        """The setting of a sweep that reads the first rows of each split alone; no setting where it reads all."""
        return {} if self.sweep.limit is None else {"limit": self.sweep.limit}

    def _model(self, model: ModelSpec) -> dict[str, Any]:
        return {
            "family": model.family,
            "quantization": model.quantization,
            **self._checkpoint(model.checkpoint),
            **decoding_before(model.checkpoint, registry.load("models", model.family).forms.values()),
        }

    def _checkpoint(self, reference: str) -> dict[str, Any]:
        if reference not in self._models:
            self._models[reference] = checkpoint_identity(reference)
        return self._models[reference]

    def _english(self, task: str, language: str) -> Any:
        """What determines the translations beside a language's test rows."""
        key = (task, language, "english")
        if key not in self._data_known:
            source = data_source(self.sweep, task)
            self._data_known[key] = registry.load("tasks", task).translation_identity(source, language)
        return self._data_known[key]

    def _kinds(self, model: ModelSpec, task: str, languages: Sequence[str]) -> dict[str, Any]:
        """What of an identity says that texts are read otherwise than they were; mostly nothing."""
        family = registry.load("models", model.family)
        found: set[str] = set()
        for language in languages:
            key = (task, language, "kinds", model.family)
            if key not in self._data_known:
                source = data_source(self.sweep, task)
                self._data_known[key] = registry.load("tasks", task).text_kinds(
                    source,
                    language,
                    family.forms[registry.load("tasks", task).kind],
                    "bert" in family.model_types,
                )
            found.update(self._data_known[key])
        return {"texts": sorted(found)} if found else {}

    def _data(self, task: str, language: str) -> Any:
        key = (task, language)
        if key not in self._data_known:
            self._data_known[key] = registry.load("tasks", task).identity(
                data_source(self.sweep, task), language
            )
        return self._data_known[key]
