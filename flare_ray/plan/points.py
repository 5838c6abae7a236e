"""The points of a method's axes: what a value stands for, and which points come to one cell.

    place = Place(sweep, "nusax", layers=12, table={"learning_rate": 2e-4, ...})
    axes, options = place.settled(entry, {"rank": 8, "learning_rate": None})

A null stands for a value: the paper's (Table 5), twice the rank, an option's usual one on the task. What a method
does not read beside its other settings is at its default, so that points of one result are one cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from flare_ray import registry
from flare_ray.plan.axes import TRANSLATION, further, reason
from flare_ray.plan.corpora import wanted
from flare_ray.plan.schema import Sweep

Pairs = tuple[tuple[str, Any], ...]
_HUMAN = ("gold", "files")


@dataclass(frozen=True)
class Place:
    """Where values are read: a task, and a model of so many layers (None: unknown). table: its hyper-parameters."""

    sweep: Sweep
    task: str
    layers: int | None
    table: Mapping[str, Any]

    def meant(self, method: str, point: Mapping[str, Any]) -> dict[str, Any]:
        """What a null stands for, by axis, at a point."""
        usual = registry.load("methods", method).usual(registry.load("tasks", self.task), self.layers)
        twice = {"alpha": 2 * point["rank"]} if "rank" in point else {}
        return {**self.table, **twice, **usual}

    def points(self, entry: Any) -> Iterator[tuple[Pairs, Pairs] | tuple[str, str]]:
        """Axes and options of each point of a method's entry; of one that cannot be, its name and the reason."""
        method = registry.load("methods", entry.name)
        named: dict[str, list[Any]] = {"rank": self.sweep.rank, "fusion": self.sweep.fusion}
        values = {axis: named[axis] for axis in method.axes} | further(self.sweep, entry)
        for chosen in product(*values.values()):
            point = dict(zip(values, chosen, strict=True))
            try:
                yield self.settled(entry, point)
            except ValidationError as error:
                options = {
                    axis: value for axis, value in point.items() if axis in method.Options.model_fields
                }
                yield f"{entry.name} ({', '.join(f'{k}={v}' for k, v in options.items())})", reason(error)

    def settled(self, entry: Any, point: Mapping[str, Any]) -> tuple[Pairs, Pairs]:
        """Axes and options of the cell at a point: an axis that is an option of the method becomes one.

        Options at their default are left out. Raises pydantic's ValidationError when they contradict each other.
        """
        method, meant = registry.load("methods", entry.name), self.meant(entry.name, point)
        mine = {axis: value for axis, value in point.items() if axis in method.Options.model_fields}
        axes = {
            axis: _plain(meant.get(axis) if value is None else value)
            for axis, value in point.items()
            if axis not in mine
        }
        chosen = type(entry).model_validate(entry.model_dump() | mine)
        options = chosen.model_dump(exclude={"name"})
        if TRANSLATION in axes:
            axes[TRANSLATION] = _read(axes[TRANSLATION], method, options)
        unread = set(method.unread({**options, **axes}))
        if self._one_english(axes.get(TRANSLATION)):
            unread.add("test_source")
        given = chosen.model_dump(exclude={"name"}, exclude_defaults=True)
        kept = {name: value for name, value in given.items() if name not in unread}
        return tuple(axes.items()), tuple((k, v) for k, v in kept.items() if v != meant.get(k))

    def _one_english(self, translation: str | None) -> bool:
        """Whether test rows have the corpus's English alone. translation: what is left of that axis, if it is one.

        A translation model of which nothing is read leaves `gold` too. Its run is the one that it is without the
        axis, unless a value of the axis is that run's equal by itself.
        """
        values = self.sweep.axes.given().get(TRANSLATION, [])
        if translation is None:
            return self.sweep.translation == "gold"
        return translation == "gold" and any(value in _HUMAN for value in values)


def _read(translation: str, method: Any, options: Mapping[str, Any]) -> str:
    """A value of the axis `translation`, or `gold` where nothing is read of it: files lie beside test rows alone."""
    splits = wanted(method.trains, method.source_at_test(options), method.reads_source)
    read = "test" in splits if translation == "files" else bool(splits)
    return translation if read else "gold"


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
