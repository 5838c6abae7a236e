"""Two sweeps cell by cell: what both have with the difference and why it may differ, and what only one has.

    report = difference(gather(a), gather(b))

A cell is known by model, task, row and language, so two stores of one sweep compare whole; a difference is B minus A,
in points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_ray.report.document import Entry, Report, Row, Section, Table, number_entry, score_entry
from flare_ray.report.paper import task_title
from flare_ray.report.results import Results, RunResult
from flare_ray.report.table import AVERAGE

Key = tuple[str, str, str, str]
"""Model, task, row, language."""
_TOLD = {"base": "base model", "data": "data", "version": "version of the code", "method": "method"}


def difference(a: Results, b: Results) -> Report:
    """The report of two sweeps."""
    ours, theirs = _cells(a), _cells(b)
    common = [key for key in ours if key in theirs]
    sections = [
        Section("common", "In both", (), (_common(a, b, ours, theirs, common),) if common else ()),
        *_alone("only-a", f"Only in A ({a.name})", a, ours, theirs),
        *_alone("only-b", f"Only in B ({b.name})", b, theirs, ours),
    ]
    facts = (
        f"A: {a.name}, {len(ours)} cells; B: {b.name}, {len(theirs)} cells; in both: {len(common)}",
        "Differences are B minus A, in points; mean ± standard deviation over seeds.",
    )
    return Report(f"{a.name} and {b.name}", facts, tuple(sections))


def _cells(results: Results) -> dict[Key, list[RunResult]]:
    """The planned runs of each cell."""
    found: dict[Key, list[RunResult]] = {}
    for run in results.runs:
        key = run.facts["model"], run.facts["task"], run.row, run.facts["language"]
        found.setdefault(key, []).append(run)
    return found


def _common(
    a: Results,
    b: Results,
    ours: Mapping[Key, list[RunResult]],
    theirs: Mapping[Key, list[RunResult]],
    common: list[Key],
) -> Table:
    rows: list[Row] = []
    for model, task, row in dict.fromkeys(key[:3] for key in common):
        group = f"{model} · {task_title(a, task)} · {row}"
        languages = [key[3] for key in common if key[:3] == (model, task, row)]
        for code in languages:
            key = (model, task, row, code)
            rows.append(_row(a, b, key, group, why(ours[key], theirs[key])))
        if all(_languages(one, model, task) == set(languages) for one in (a, b)) and len(languages) > 1:
            rows.append(_row(a, b, (model, task, row, AVERAGE), group, ""))
    columns = ("A", "B", "difference", "runs")
    notes = ("runs: whether both are the same trainings, and if not, what differs between them.",)
    return Table("common", "Cells in both", "language", columns, tuple(rows), notes)


def _row(a: Results, b: Results, key: Key, group: str, note: str) -> Row:
    first, second = a.value(*key), b.value(*key)
    means = [value.mean if value else None for value in (first, second)]
    number = None if means[0] is None or means[1] is None else means[1] - means[0]
    entries = score_entry(first), score_entry(second), number_entry(number, "+.1f"), Entry(note)
    return Row(key[3], entries, group)


def _languages(results: Results, model: str, task: str) -> set[str]:
    return {run.facts["language"] for run in results.of(model, task)}


def why(ours: list[RunResult], theirs: list[RunResult]) -> str:
    """`the same`, or what differs between the runs of a cell: seeds, settings, data, base model, code."""
    prints = [{run.facts["fingerprint"] for run in runs} for runs in (ours, theirs)]
    if prints[0] == prints[1]:
        return "the same"
    seeds = [{run.facts["seed"]: run for run in runs} for runs in (ours, theirs)]
    common = sorted(set(seeds[0]) & set(seeds[1]))
    told = []
    if set(seeds[0]) != set(seeds[1]):
        told.append(" → ".join(f"seeds {', '.join(map(str, sorted(one)))}" for one in seeds))
    if common:
        told += _changed(*(one[common[0]].facts["identity"] for one in seeds))
    return "; ".join(told) or "the same where both have a seed"


def _changed(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    settings = [one.get("settings", {}) for one in (ours, theirs)]
    for name in dict.fromkeys([*settings[0], *settings[1]]):
        values = [one.get(name, "–") for one in settings]
        if values[0] != values[1]:
            yield f"{name} {values[0]} → {values[1]}"
    for part, told in _TOLD.items():
        if ours.get(part) != theirs.get(part):
            yield f"other {told}"


def _alone(
    place: str,
    title: str,
    results: Results,
    mine: Mapping[Key, list[RunResult]],
    others: Mapping[Key, object],
) -> list[Section]:
    rows = []
    for model, task, row, code in (key for key in mine if key not in others):
        group = f"{model} · {task_title(results, task)} · {row}"
        rows.append(Row(code, (score_entry(results.value(model, task, row, code)),), group))
    if not rows:
        return []
    table = Table(place, title, "language", ("score",), tuple(rows))
    return [Section(place, title, (), (table,))]
