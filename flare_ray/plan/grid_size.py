"""How many runs a grid has, counted before any of them is made, and whether it has one at all.

A slip in a list of values makes millions of cells: they are counted by multiplication and refused with the number.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

from flare_ray import registry
from flare_ray.errors import Problem
from flare_ray.plan.axes import further
from flare_ray.plan.checkpoints import local_path
from flare_ray.plan.grid import Builder, data_source
from flare_ray.plan.schema import ModelSpec, Sweep

MOST_CHECKS = 5
"""Rules that are tried on cells, for each run of `max_runs`."""


def size_problems(sweep: Sweep) -> list[Problem]:
    """Return a problem if the product of the axes has more runs than the sweep's `max_runs`."""
    cells = count_cells(sweep)
    runs = cells * len(sweep.seeds)
    rules = len(sweep.include) + len(sweep.exclude)
    if runs <= sweep.max_runs and cells * rules > MOST_CHECKS * sweep.max_runs:
        got = f"{rules:,} rules for {cells:,} cells"
        expected = (
            f"fewer rules (a rule may have lists of values), or max_runs: {-(-cells * rules // MOST_CHECKS)}"
        )
        return [Problem("exclude" if sweep.exclude else "include", got, expected)]
    if runs <= sweep.max_runs:
        return []
    got = f"{cells:,} cells with {len(sweep.seeds):,} seeds, which are {runs:,} runs"
    expected = f"at most {sweep.max_runs:,} runs; give fewer values, or raise the bound with max_runs: {runs}"
    return [Problem("max_runs", got, expected)]


def count_cells(sweep: Sweep) -> int:
    """Return the number of points of a sweep's grid without their seeds, before rules."""
    named: dict[str, list[Any]] = {"rank": sweep.rank, "fusion": sweep.fusion}
    points = 0
    for entry in sweep.methods:
        axes = {axis: named[axis] for axis in registry.load("methods", entry.name).axes}
        points += prod([len(values) for values in (axes | further(sweep, entry)).values()])
    return points * len(sweep.models) * sum(_languages(sweep, task) for task in sweep.tasks)


def _languages(sweep: Sweep, task: str) -> int:
    """Return the number of a task's target languages; one where they cannot be listed."""
    if sweep.languages != "all":
        return len(sweep.languages)
    try:
        return len(registry.load("tasks", task).targets(data_source(sweep, task)))
    except OSError:
        return 1


def unreadable_data(sweep: Sweep, task: str, error: OSError) -> Problem:
    """Return the problem of a task's data that this machine cannot read."""
    path = error.filename or local_path(data_source(sweep, task))
    return Problem(f"data.{task}", f"{path}: {error.strerror or error}", "files and folders that can be read")


def empty_grid(sweep: Sweep) -> list[Problem]:
    """Return a problem if a sound sweep has neither a run nor a search: it would end at once, with success."""
    builder = Builder(sweep)
    if sweep.searches or any(
        _has_cell(builder, model, task) for model, task in product(sweep.models, sweep.tasks)
    ):
        return []
    reasons: dict[str, int] = {}
    for skipped in builder.skipped:
        reasons[skipped.reason] = reasons.get(skipped.reason, 0) + 1
    why = ", ".join(f"{count:,} by {reason}" for reason, count in list(reasons.items())[:5])
    where = "exclude" if sweep.exclude else "include" if sweep.include else "methods"
    got = f"no run is left: all cells are left out ({why})" if why else "no run"
    return [Problem(where, got, "rules and options that leave at least one cell")]


def _has_cell(builder: Builder, model: ModelSpec, task: str) -> bool:
    return any(
        True for language in builder.languages(model, task) for _ in builder.cells(model, task, language)
    )
