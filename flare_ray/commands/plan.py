"""What a sweep would do and cost: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flare_ray.commands.estimate import Estimate, Wall
from flare_ray.commands.tables import size_text
from flare_ray.damage import DamagedWork, print_damage
from flare_ray.plan.cost import Sum
from flare_ray.plan.limits import limit_notes
from flare_ray.plan.row_counts import describe_counts
from flare_ray.plan.stages import Stages
from flare_ray.store.layout import layout_problems
from flare_ray.study import Study

_LISTED = 8  # packs that a plan prints by name
_KINDS = {"bases": "base models", "runs": "runs", "corpora": "translations"}


def print_plan(
    study: Study, console: Console, places: int | None = None, damage: Sequence[DamagedWork] = ()
) -> None:
    """Cells, runs, stages to do, done and shared; what they cost; what is skipped and why; what is damaged.

    places: worker groups at a time, for the wall time; `resources.max_concurrent` if left out.
    """
    grid, stages = study.grid, study.stages()
    console.print(f"[bold]{study.sweep.name}[/bold]: {len(grid.cells)} cells, {len(grid.runs)} runs")
    console.print(
        f"{_translations(stages)}"
        f"  base models: {len(stages.bases)} to train, {stages.bases_done} stored\n"
        f"  runs: {len(stages.todo)} to do in {len(stages.packs)} packs, {len(stages.done)} done"
    )
    for note in limit_notes(study.sweep):
        console.print(f"  {note}", markup=False, soft_wrap=True)
    for problem in layout_problems(study.store.files):
        console.print(f"  warning: run refuses this: {problem}", markup=False, soft_wrap=True)
    for doubt in study.doubts:
        console.print(f"  warning: {doubt}", markup=False, soft_wrap=True)
    for search in study.searches:
        section = search.question.section
        text = (
            f"  search: {search.question.label} by {search.sampler}, {section.configurations} configurations"
        )
        console.print(text, markup=False, soft_wrap=True)
    for pack in stages.packs[:_LISTED]:
        console.print(f"    {pack.label}", markup=False)
    if len(stages.packs) > _LISTED:
        console.print(f"    … and {len(stages.packs) - _LISTED} packs more (flare-ray plan --json lists all)")
    _print_skipped(study, console)
    print_damage(damage, console, "  damaged work counts as not done: `flare-ray run` makes it again")
    if stages.todo:
        _print_estimate(Estimate.of(study, stages, places or study.sweep.resources.max_concurrent), console)


def _print_skipped(study: Study, console: Console) -> None:
    reasons: dict[str, list[str]] = {}
    for skipped in study.grid.skipped:
        reasons.setdefault(skipped.reason, []).append(skipped.label)
    for reason, labels in reasons.items():
        some = ", ".join(labels[:2]) + (f" and {len(labels) - 2} more" if len(labels) > 2 else "")
        console.print(f"  skipped: {some}: {reason}", markup=False, soft_wrap=True)


def _print_estimate(found: Estimate, console: Console) -> None:
    """Hours by translator or model, and task, of what is to do; money; disk; wall time. Searches are not counted."""
    sweep, kind = found.costs.sweep, found.costs.unit
    table = Table("model", "task", "to do", f"{kind}-hours", "taken from", box=None)
    translators = {(corpus.translator["model"], corpus.task) for corpus in found.corpora}
    for key, (count, hours) in found.parts.items():
        what = "splits" if key in translators else "runs"
        table.add_row(*map(escape, key), f"{count} {what}", _hours(hours), "; ".join(hours.bases))
    of_searches = "without what searches add" if sweep.searches else ""
    table.add_row("all", "", f"{len(found.stages.todo)} runs", _hours(found.whole), of_searches)
    console.print(table)
    if found.money is not None:
        price = sweep.resources.price_per_hour
        console.print(f"  at {price:g} per {kind}-hour: {found.money:,.0f}")
    for line in _counted_rows(found):
        console.print(f"  counted: {line}", markup=False, soft_wrap=True)
    console.print(f"  disk: {_disk(found)}", markup=False, soft_wrap=True)
    if found.wall and found.wall.unknown < len(found.works):
        console.print(f"  wall time: {_wall(found.wall)}", markup=False, soft_wrap=True)


def _counted_rows(found: Estimate) -> list[str]:
    """Return a line for each task whose rows the estimate counts."""
    languages: dict[tuple[str, str], dict[str, None]] = {}
    for run in found.stages.todo:
        languages.setdefault((run.cell.task, run.base.source), {})[run.cell.language] = None
    limit = found.costs.sweep.limit
    lines = (describe_counts(task, data, list(names), limit) for (task, data), names in languages.items())
    return [line for line in lines if line]


def _disk(found: Estimate) -> str:
    disk = found.disk
    parts = [
        f"{name} {size_text(int(disk.bytes[kind]))}" for kind, name in _KINDS.items() if disk.bytes[kind]
    ]
    text = f"{size_text(int(sum(disk.bytes.values())))} to fill"
    text += f": {', '.join(parts)}" if parts else ""
    text += f" + {disk.unknown} unknown" if disk.unknown else ""
    text += f"; taken from {'; '.join(basis for basis in disk.bases if basis != 'unknown')}" if parts else ""
    if found.checkpoints:
        text += f"; checkpoints of unfinished work at most {size_text(int(found.checkpoints))} besides"
    return text


def _wall(wall: Wall) -> str:
    how = "simulated" if wall.simulated else "at least: all work's share of a place, or the longest chain"
    how += f"; {wall.unknown} pieces of work of unknown length taken for seconds" if wall.unknown else ""
    hours = _hours(Sum(wall.seconds / 3600, 0, ()))
    return f"{hours} hours with {wall.places} worker groups at a time ({how})"


def _hours(found: Sum) -> str:
    text = f"{found.hours:,.0f}" if found.hours >= 100 else f"{found.hours:.3g}"
    return text if not found.unknown else f"{text} + {found.unknown} unknown"


def _translations(stages: Stages) -> str:
    left = sum(len(stage.corpora) for stage in stages.translations)
    done = stages.corpora_done
    return f"  translated splits: {left} to make, {done} stored\n" if left or done else ""


def plan_json(study: Study, places: int | None = None, damage: Sequence[DamagedWork] = ()) -> dict[str, Any]:
    """The same, for programs. Seconds, bytes; None is unknown."""
    grid, stages = study.grid, study.stages()
    found = Estimate.of(study, stages, places or study.sweep.resources.max_concurrent)
    done = {run.fingerprint for run in stages.done}
    seconds = {run.fingerprint: found.costs.of(run).seconds for run in grid.runs}
    return {
        "name": study.sweep.name,
        "cells": len(grid.cells),
        "runs": [
            {
                "fingerprint": run.fingerprint,
                "label": run.label,
                "done": run.fingerprint in done,
                "seconds": seconds[run.fingerprint],
            }
            for run in grid.runs
        ],
        "translations": [_described(corpus, found) for corpus in found.corpora],
        "bases": [_described(base, found) for base in stages.bases],
        "packs": [
            {"base": pack.base.fingerprint, "runs": [run.fingerprint for run in pack.runs]}
            for pack in stages.packs
        ],
        **_estimates(found),
        "searches": [
            {"label": one.question.label, "sampler": one.sampler, "fingerprint": one.question.fingerprint}
            for one in study.searches
        ],
        "damaged": [vars(one) for one in damage],
        "warnings": [str(one) for one in (*layout_problems(study.store.files), *study.doubts)],
        "skipped": [{"label": skipped.label, "reason": skipped.reason} for skipped in grid.skipped],
    }


def _described(work: Any, found: Estimate) -> dict[str, Any]:
    return {
        "fingerprint": work.fingerprint,
        "label": work.label,
        "seconds": found.costs.of(work).seconds,
    }


def _estimates(found: Estimate) -> dict[str, Any]:
    """Of all that is left, without what searches add."""
    kind, whole, disk, wall = found.costs.unit, found.whole, found.disk, found.wall
    return {
        "cost": {
            f"{kind.lower()}_hours": whole.hours,
            "money": found.money,
            "unknown": whole.unknown,
            "taken_from": list(whole.bases),
            "counted": _counted_rows(found),
        },
        "disk": {
            **disk.bytes,
            "checkpoints": found.checkpoints,
            "unknown": disk.unknown,
            "taken_from": list(disk.bases),
        },
        "wall": wall
        and {
            "places": wall.places,
            "seconds": wall.seconds,
            "simulated": wall.simulated,
            "unknown": wall.unknown,
        },
    }
