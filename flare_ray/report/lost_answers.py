"""Notes below the tables: test rows that no prediction can answer exactly, as the runs have counted them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_ray.report.results import RunResult

REASONS = ("answer not in the prompt", "answer longer than max_answer", "answer no span can give")
"""As forms/answers.py counts them."""


def lost_answer_notes(runs: Iterable[RunResult]) -> list[str]:
    """Return a line for each model, task and reason, with the languages and the exact match that their rows leave.

    Methods that read other tokens, such as two texts in one input, have a line of their own.
    """
    lines: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
    for run in runs:
        facts = run.facts
        for reason, text in _counts(run.record):
            methods = lines.setdefault((facts["model"], facts["task"], reason), {})
            methods.setdefault(facts["method"], {})[f"{facts['language']} {text}"] = text
    notes = []
    for (model, task, reason), methods in lines.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for method, languages in methods.items():
            alike.setdefault(tuple(languages), []).append(method)
        for counts, names in alike.items():
            of = f" ({', '.join(names)})" if len(alike) > 1 else ""
            notes.append(f"{model} on {task}{of}: {reason}, test: {', '.join(counts)}.")
    return notes


def _counts(record: Mapping[str, Any] | None) -> Iterable[tuple[str, str]]:
    """Yield the reasons of a record's test split, each with its rows; none of a record that is damaged."""
    data, rows = (record or {}).get("data"), (record or {}).get("rows")
    counts = data.get("test") if isinstance(data, Mapping) else None
    total = rows.get("test") if isinstance(rows, Mapping) else None
    if not isinstance(counts, Mapping) or not isinstance(total, int) or total < 1:
        return
    for reason in REASONS:
        lost = counts.get(reason)
        if isinstance(lost, int) and 0 < lost <= total:
            ceiling = 100 * (1 - lost / total)
            yield reason, f"{lost:,} of {total:,} rows (exact match cannot pass {ceiling:.1f})"
