"""Which of the paper's figures a sweep's records fill: 3 (translators), and 4, 5 and 6 (activation_figures.py)."""

from __future__ import annotations

from collections.abc import Sequence

from flare_ray.report import activation_figures, published
from flare_ray.report.document import Figure, Row, Section, Table, bold_best, number_entry
from flare_ray.report.figures import Point, intervals
from flare_ray.report.paper import (
    Asked,
    at_defaults,
    averages_row,
    beside,
    legend,
    same_languages,
    task_title,
)
from flare_ray.report.results import Results, RowFacts

AXIS = "translation"


def section(results: Results) -> list[Section]:
    """The figures there can be; nothing for a sweep where nothing fuses."""
    third = [one for model in results.models for one in _figure_3(results, model)]
    others = activation_figures.parts(results)
    made = (*third, *others)
    return (
        [Section("figures", "The paper's figures", tuple(activation_figures.about(others)), made)]
        if made
        else []
    )


def _figure_3(results: Results, model: str) -> list[Figure]:
    """FLARE on the text of several translators, and LoRA beside it; nothing with one translator."""
    kept: dict[str, dict[str, RowFacts]] = {}
    for task in results.planned_tasks:
        for row in _kept(list(results.rows(model, task).values())):
            kept.setdefault(row.name, {})[task] = row
    if not kept:
        return []
    tasks = [task for task in results.planned_tasks if any(task in found for found in kept.values())]
    asked = Asked("figure-3", "")
    rows = [averages_row(results, asked, model, name, found, tasks) for name, found in kept.items()]
    whole = [*bold_best(rows), *_difference(results, model, kept, tasks)]
    columns = tuple(task_title(results, task) for task in tasks)
    title = f"Figure 3: FLARE on the text of different translators ({model})"
    table = Table(f"figure-3-{model}", title, "method", columns, tuple(whole), tuple(legend(rows)))
    return [Figure(table.id, intervals(_points(rows, columns), "points", zero=False), table, folded=False)]


def _kept(rows: Sequence[RowFacts]) -> list[RowFacts]:
    flare = [
        row
        for row in rows
        if row.method == "flare" and AXIS in row.axes and not row.options and not row.selected
    ]
    if len({row.axes[AXIS] for row in flare}) < 2:
        return []
    lora = [row for row in rows if row.method == "lora" and not row.options and not row.selected]
    return at_defaults([*flare, *lora], AXIS)


def _points(rows: Sequence[Row], columns: Sequence[str]) -> list[Point]:
    points = []
    for place, column in enumerate(columns):
        for row in rows:
            entry = row.entries[place]
            if entry.number is not None:
                spread = entry.facts.get("std") or 0.0
                ends = entry.number - spread, entry.number + spread
                points.append(Point(f"{column}: {row.label}", entry.number, *ends, entry.text))
    return points


def _difference(
    results: Results, model: str, kept: dict[str, dict[str, RowFacts]], tasks: Sequence[str]
) -> list[Row]:
    """The paper's two translators: what the larger one gives more, and what the paper says of it."""
    names = {
        row.axes[AXIS]: name
        for name, found in kept.items()
        for row in found.values()
        if AXIS in row.axes and row.method == "flare"
    }
    if not set(published.TRANSLATORS) <= set(names):
        return []
    entries, below = [], []
    variant = f"{AXIS}={' minus '.join(published.TRANSLATORS)}"
    for task in tasks:
        values = [results.value(model, task, names[one]) for one in published.TRANSLATORS]
        means = [value.mean if value else None for value in values]
        larger, smaller = means
        entries.append(number_entry(None if larger is None or smaller is None else larger - smaller, "+.1f"))
        theirs = published.find("figure3", model, "flare", variant, task, "avg")
        below.append(beside(entries[-1], theirs, same_languages(results, model, task)))
    told = any(entry.text for entry in below)
    return [
        Row(
            "flare: " + " minus ".join(published.TRANSLATORS),
            tuple(entries),
            model,
            "paper (difference)" if told else "",
            tuple(below) if told else (),
        )
    ]
