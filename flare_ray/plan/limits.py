"""Sweeps that read the first rows of each split alone (`limit`), and trials of every cell (`smoke`).

Both have fingerprints of their own by their settings, and a name of their own: no table, MLflow experiment or report
of the whole sweep has them. `smoke: true` stands for

    limit: 8
    seeds: [<the first>]
    training: {max_steps: 2}
    base: {max_steps: 2}
    searches: [{configurations: 2, seeds: 1}]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from flare_ray.plan.schema import Sweep

SMOKE_ROWS, SMOKE_STEPS, SMOKE_CONFIGURATIONS = 8, 2, 2
_LONGEST_NAME = 200


def with_limits(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a sweep file as `limit` and `smoke` change them. Fields of a wrong type stay."""
    smoke, given = values.get("smoke") is True, values.get("limit")
    limit: float = given if isinstance(given, int | float) and not isinstance(given, bool) else 0
    if not smoke and limit < 1:
        return values
    result = deepcopy(values)
    if smoke:
        result["limit"] = SMOKE_ROWS
        if isinstance(seeds := result.get("seeds"), list):
            result["seeds"] = seeds[:1]
        for section in _trainings(result):
            section["max_steps"] = SMOKE_STEPS
        if isinstance(axes := result.get("axes"), dict):
            axes.pop("max_steps", None)
        for search in _mappings(result.get("searches")):
            search |= {"configurations": SMOKE_CONFIGURATIONS, "seeds": 1}
    if isinstance(name := result.get("name"), str):
        suffix = "-smoke" if smoke else f"-limit{int(limit)}"
        if len(name) <= _LONGEST_NAME:
            result["name"] = name[: _LONGEST_NAME - len(suffix)] + suffix
    return result


def limit_options(overrides: Sequence[str] | None, limit: int | None, smoke: bool) -> list[str]:
    """Return overrides with the fields that `--limit N` and `--smoke` stand for."""
    fields = [f"limit={limit}"] if limit is not None else []
    return [*(overrides or []), *fields, *(["smoke=true"] if smoke else [])]


def limit_notes(sweep: Sweep) -> list[str]:
    """Return what a reader of the tables must know of a sweep that reads few rows."""
    if sweep.limit is None:
        return []
    rows = f"Limited to {sweep.limit} rows per split: no scores of the whole data."
    if sweep.smoke:
        rows = (
            f"A smoke test: limited to {sweep.limit} rows per split and {SMOKE_STEPS} optimiser steps; "
            "the scores say nothing about the methods."
        )
    return [rows]


def _trainings(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the sections that say how something is trained; those that are absent are made."""
    for name in ("training", "base"):
        section = values.setdefault(name, {})
        if section is None:
            section = values[name] = {}
        if isinstance(section, dict):
            yield section
    for override in _mappings(values.get("overrides")):
        yield from _mappings([override.get("training"), override.get("base")])


def _mappings(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
