"""What a sweep file says of points of its grid: further axes, rules that keep or leave out, overrides.

axes: {learning_rate: [1e-4, 5e-4], source_offset: [1, 0]}
exclude: [{task: xnli, learning_rate: 5e-4}]
overrides: [{model: gemma-2-9b, resources: {gpus_per_worker: 1, accelerator_type: A100}}]
"""

from __future__ import annotations

from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from flare_ray import registry
from flare_ray.plan.located import CorpusOrModel
from flare_ray.plan.sections import BaseTraining, QuestionReading, Resources, Training
from flare_ray.plan.values import NotEmpty, Positive, Section, Unique, Values

S = TypeVar("S", bound=Section)
NAMED = ("rank", "fusion")
"""Axes that are fields of the sweep itself."""


class Rule(Section):
    """Points of the grid: those that have one of the given values on each of the given axes. Further axes and options
    of methods can be given by their names; a point without such an axis does not match."""

    model_config = ConfigDict(extra="allow")

    model: Values | None = None
    """A name of the sweep's models, or a list of them."""
    task: Values | None = None
    """Of its tasks."""
    language: Values | None = None
    """Of its languages."""
    method: Values | None = None
    """Of its methods, by name alone."""
    fusion: Values | None = None
    """Of its fusion functions."""
    rank: Values | None = None
    """Of its ranks."""

    @cached_property
    def axes(self) -> dict[str, list[Any]]:
        """The axes that are given, with their values; a null is one. Each cell asks for them."""
        fields = {axis: getattr(self, axis) for axis in type(self).model_fields}
        every = {**fields, **(self.model_extra or {})}
        given = {axis: every[axis] for axis in sorted(self.model_fields_set)}
        return {axis: values if isinstance(values, list) else [values] for axis, values in given.items()}


class Override(Section):
    """Fields of the sweep that differ for some of its models, tasks, methods or languages; later entries win."""

    model: Values | None = None
    """Names of the sweep's models; all when left out."""
    task: Values | None = None
    """Of the sweep's tasks; all when left out."""
    method: Values | None = None
    """Of its methods; all when left out. For `training` and `reading` only: base models and resources belong to no
    method."""
    language: Values | None = None
    """Of its languages; all when left out. For `training` and `reading` only: base models are English."""
    training: Training = Training()
    """What is given replaces the sweep's `training`."""
    base: BaseTraining = BaseTraining()
    """What is given replaces the sweep's `base`."""
    reading: QuestionReading = QuestionReading()
    """What is given replaces the sweep's `reading`; of base models too, unless it is for a method or language."""
    resources: Resources = Resources()
    """What is given replaces the sweep's `resources`: of a worker group, such as workers, GPUs, ZeRO stage."""

    def matches(self, model: str, task: str, method: str | None = None, language: str | None = None) -> bool:
        """Whether it holds for a model and task (and method and language)."""
        given = ((self.model, model), (self.task, task), (self.method, method), (self.language, language))
        return all(values is None or value in values for values, value in given)


def overridden(
    name: str,
    given: S,
    overrides: list[Override],
    model: str,
    task: str,
    method: str | None = None,
    language: str | None = None,
) -> S:
    """A section of the sweep (`training`, `base`, …) as it is for a model and task (and method and language)."""
    for override in overrides:
        changes: Section = getattr(override, name)
        if changes.model_fields_set and override.matches(model, task, method, language):
            given = given.model_copy(
                update={field: getattr(changes, field) for field in changes.model_fields_set}
            )
    return given


class _Axes(Section):
    @model_validator(mode="before")
    @classmethod
    def _not_named(cls, given: Any) -> Any:
        if named := [axis for axis in NAMED if isinstance(given, dict) and axis in given]:
            wanted = f"{' and '.join(named)} beside `axes`, not in it"
            raise PydanticCustomError("named_axis", "{wanted}", {"wanted": wanted})
        return given

    def given(self) -> dict[str, list[Any]]:
        """The axes that are given, with their values."""
        named = {axis: getattr(self, axis) for axis in type(self).model_fields}
        return {axis: values for axis, values in named.items() if values is not None}


def _axis(values: Any, description: str | None) -> tuple[Any, Any]:
    """A field of `axes`: a list of the values that the field or option of that name takes."""
    return Annotated[list[values], NotEmpty, Unique] | None, Field(None, description=description)


def _type(field: FieldInfo) -> Any:
    kind: Any = field.annotation
    for mark in field.metadata:
        kind = Annotated[kind, mark]
    return kind


def _axes() -> Any:
    """A field per hyper-parameter of `training` and per option of a method."""
    fields = {name: _axis(_type(field), field.description) for name, field in Training.model_fields.items()}
    fields["alpha"] = _axis(Positive | None, "α of the adapters' scaling α/r; null: twice the rank.")
    fields["translation"] = _axis(
        CorpusOrModel,
        "Translation models by name, in the place of the one in `translation`; `gold`, `files`. For methods that "
        "read translated text.",
    )
    options: dict[str, list[FieldInfo]] = {}
    for method in registry.names("methods"):
        for name, field in registry.load("methods", method).Options.model_fields.items():
            options.setdefault(name, []).append(field)
    for name, alike in options.items():
        said = next((field.description for field in alike if field.description), None)
        fields.setdefault(name, _axis(reduce(or_, dict.fromkeys(map(_type, alike))), said))
    return create_model("Axes", __base__=_Axes, **fields)  # type: ignore[call-overload]


if TYPE_CHECKING:
    Axes = _Axes
else:
    Axes = _axes()
    Axes.__doc__ = """Further axes: each multiplies the methods whose result it changes, and only them. A null
    hyper-parameter stands for the paper's value (Table 5)."""
