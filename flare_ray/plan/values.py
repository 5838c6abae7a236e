"""The values that a sweep file takes: names that the package knows, paths, checkpoints, unique lists."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    create_model,
)
from pydantic_core import PydanticCustomError

from flare_ray import registry
from flare_ray.plan.checkpoints import TRANSLATORS, known_models
from flare_ray.plan.strict import INTEGRAL, REAL, Strict


def known(kind: str) -> AfterValidator:
    """A name of the registry; the nearest one is told."""

    def check(name: str) -> str:
        if name not in registry.names(kind):
            wanted = registry.wanted(name, registry.names(kind))
            raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})
        return name

    return AfterValidator(check)


class Listed:
    """For editors: a string that is one of some names. names: found when a JSON schema is asked for, not before."""

    def __init__(self, names: Callable[[], Iterable[str]]):
        self.names = names

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.names())}


def unique(values: list[Any]) -> list[Any]:
    """Each value once."""
    if len(set(map(repr, values))) < len(values):
        raise PydanticCustomError("repeated", "each value once")
    return values


def bounded(values: Any) -> Any:
    """A list of not too many entries: each is looked up by name."""
    if isinstance(values, list) and len(values) > MOST_ENTRIES:
        context = {"found": f"a list of {len(values):,}", "wanted": f"at most {MOST_ENTRIES:,} entries"}
        raise PydanticCustomError("too_long", "{wanted}", context)
    return values


def named_model(value: Any) -> Any:
    """A known name, or a mapping that may change some of what goes with a known name."""
    known = known_models()
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        return given
    name = given.get("name")
    if isinstance(name, str) and name in known and "checkpoint" not in given:
        return {"name": name, **known[name], **given}
    if isinstance(value, str):
        wanted = registry.wanted(value, known) + "; or {name, family, checkpoint} of your own"
        raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})
    return given


def named_method(value: Any) -> Any:
    """A method's name, or a mapping with it."""
    given = {"name": value} if isinstance(value, str) else value
    if isinstance(given, dict) and (name := given.get("name")) not in registry.names("methods"):
        wanted = registry.wanted(str(name), registry.names("methods"))
        raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})
    return given


def method_models() -> Any:
    """A section per method file: its name and its options."""
    sections: list[Any] = []
    for name in registry.names("methods"):
        method = registry.load("methods", name)
        fields: dict[str, Any] = {"name": (Literal[name], ...)}
        said = (sys.modules[type(method).__module__].__doc__ or "").partition("\n\n")[0]
        sections.append(create_model(name, __base__=method.Options, __doc__=said, **fields))
    return Union[tuple(sections)]  # noqa: UP007 - made at run time


def named_translator(value: Any) -> Any:
    """`gold`, `files`, or a translation model by its name alone."""
    return {"model": value} if isinstance(value, str) and value not in ("gold", "files") else value


def as_list(value: Any) -> Any:
    """A single value as a list of one."""
    return value if isinstance(value, list) else [value]


Count = Annotated[int, Field(gt=0, le=10**9), INTEGRAL]
"""A whole number of things, 1 at least."""
Few = Annotated[int, Field(gt=0, le=10_000), INTEGRAL]
Rank = Annotated[int, Field(gt=0, le=65_536), INTEGRAL]
Length = Annotated[int, Field(gt=0, le=2**20), INTEGRAL]
"""Tokens of a text."""
Batch = Annotated[int, Field(gt=0, le=1_000_000), INTEGRAL]
"""Instances at a time, or passes over them."""
Share = Annotated[float, Field(ge=0, lt=1), REAL]
Amount = Annotated[float, Field(ge=0, le=1e9), REAL]
Positive = Annotated[float, Field(gt=0, le=1e9), REAL]
Rate = Annotated[float, Field(gt=0, le=100), REAL]
"""A learning rate."""
Marker = Literal["brackets", "angles", "tags", "quotes"]
MOST_ENTRIES = 1000
Bounded = BeforeValidator(bounded)
NotEmpty = Field(min_length=1)
Unique = AfterValidator(unique)
Value = str | int
Values = Annotated[
    list[Value],
    NotEmpty,
    BeforeValidator(as_list, json_schema_input_type=Value | Annotated[list[Value], NotEmpty]),
]
Seed = Annotated[int, Field(ge=0, lt=2**32), INTEGRAL]  # what NumPy takes
TaskName = Annotated[str, known("tasks"), Listed(lambda: registry.names("tasks"))]
FusionName = Annotated[str, known("fusion.functions"), Listed(lambda: registry.names("fusion.functions"))]
FamilyName = Annotated[str, known("models"), Listed(lambda: registry.names("models"))]
KnownModel = Annotated[str, Listed(known_models)]
KnownTranslator = Annotated[str, Listed(lambda: TRANSLATORS)]
KnownMethod = Annotated[str, Listed(lambda: registry.names("methods"))]
if TYPE_CHECKING:
    MethodEntry = Any
else:
    _Methods = Annotated[method_models(), Field(discriminator="name")]
    MethodEntry = Annotated[
        _Methods, BeforeValidator(named_method, json_schema_input_type=KnownMethod | _Methods)
    ]


class Section(Strict):
    """A frozen part of the sweep file; unknown keys are errors."""
