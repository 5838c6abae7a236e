"""What a sweep would do and cost: for people, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from flare_ray.plan.cost import Sum, total
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Stages
from flare_ray.study import Study

_LISTED = 8  # packs that a plan prints by name


def print_plan(study: Study, console: Console) -> None:
    """Cells, runs, stages to do, done and shared; what they cost; what is skipped and why."""
    grid, stages = study.grid, study.stages()
    console.print(f"[bold]{study.sweep.name}[/bold]: {len(grid.cells)} cells, {len(grid.runs)} runs")
    console.print(
        f"{_translations(stages)}"
        f"  base models: {len(stages.bases)} to train, {stages.bases_done} stored\n"
        f"  runs: {len(stages.todo)} to do in {len(stages.packs)} packs, {len(stages.done)} done"
    )
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
    if stages.todo:
        _print_cost(study, stages, console)


def _print_skipped(study: Study, console: Console) -> None:
    reasons: dict[str, list[str]] = {}
    for skipped in study.grid.skipped:
        reasons.setdefault(skipped.reason, []).append(skipped.label)
    for reason, labels in reasons.items():
        some = ", ".join(labels[:2]) + (f" and {len(labels) - 2} more" if len(labels) > 2 else "")
        console.print(f"  skipped: {some}: {reason}", markup=False, soft_wrap=True)


def _print_cost(study: Study, stages: Stages, console: Console) -> None:
    """Hours by model and task, of what is to do. Translations are not counted."""
    costs, unit = study.costs(), _unit(study)
    table = Table("model", "task", "runs to do", f"{unit}-hours", "taken from", box=None)
    for (model, task), works in _grouped(stages).items():
        found = total(costs, works)
        runs = sum(isinstance(work, Run) for work in works)
        table.add_row(model, task, str(runs), _hours(found), "; ".join(found.bases))
    whole = total(costs, [*stages.bases, *stages.todo])
    table.add_row("all", "", str(len(stages.todo)), _hours(whole), "translations not counted")
    console.print(table)
    if price := study.sweep.resources.price_per_hour:
        console.print(f"  at {price:g} per {unit}-hour: {whole.hours * price:,.0f}")


def _grouped(stages: Stages) -> dict[tuple[str, str], list[Run | Base]]:
    groups: dict[tuple[str, str], list[Run | Base]] = {}
    for base in stages.bases:
        groups.setdefault((base.model.name, base.task), []).append(base)
    for run in stages.todo:
        groups.setdefault((run.cell.model.name, run.cell.task), []).append(run)
    return groups


def _hours(found: Sum) -> str:
    text = f"{found.hours:,.0f}" if found.hours >= 100 else f"{found.hours:.3g}"
    return text if not found.unknown else f"{text} + {found.unknown} unknown"


def _unit(study: Study) -> str:
    every = [
        study.sweep.resources_of(model.name, task)
        for model in study.sweep.models
        for task in study.sweep.tasks
    ]
    return "GPU" if any(resources.gpus_per_worker for resources in every) else "CPU"


def _translations(stages: Stages) -> str:
    left = sum(len(stage.corpora) for stage in stages.translations)
    done = stages.corpora_done
    return f"  translated splits: {left} to make, {done} stored\n" if left or done else ""


def plan_json(study: Study) -> dict[str, Any]:
    """The same, for programs."""
    grid, stages, costs = study.grid, study.stages(), study.costs()
    done = {run.fingerprint for run in stages.done}
    whole = total(costs, [*stages.bases, *stages.todo])
    return {
        "name": study.sweep.name,
        "cells": len(grid.cells),
        "runs": [
            {
                "fingerprint": run.fingerprint,
                "label": run.label,
                "done": run.fingerprint in done,
                "seconds": costs.of(run).seconds,
            }
            for run in grid.runs
        ],
        "translations": [
            {"fingerprint": corpus.fingerprint, "label": corpus.label}
            for stage in stages.translations
            for corpus in stage.corpora
        ],
        "bases": [
            {"fingerprint": base.fingerprint, "label": base.label, "seconds": costs.of(base).seconds}
            for base in stages.bases
        ],
        "packs": [
            {"base": pack.base.fingerprint, "runs": [run.fingerprint for run in pack.runs]}
            for pack in stages.packs
        ],
        "cost": {
            f"{_unit(study).lower()}_hours": whole.hours,
            "unknown": whole.unknown,
            "taken_from": list(whole.bases),
        },
        "searches": [
            {"label": one.question.label, "sampler": one.sampler, "fingerprint": one.question.fingerprint}
            for one in study.searches
        ],
        "skipped": [{"label": skipped.label, "reason": skipped.reason} for skipped in grid.skipped],
    }
