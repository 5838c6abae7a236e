"""Notes below the tables: test rows that no prediction can answer exactly, as the runs have counted them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_ray.report.results import RunResult

REASONS = ("answer not in the prompt", "answer longer than max_answer", "answer no span can give")
"""As forms/_answers.py counts them."""


def lost_answer_notes(runs: Iterable[RunResult]) -> list[str]:
    """Return a line for each model, task and reason, with the languages and the exact match that their rows leave.

    Methods that read other tokens, such as two texts in one input, have a line of their own.
    """
    lines: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for run in runs:
        facts = run.facts
        length = (facts.get("settings") or {}).get("max_length")
        where = f"{facts['model']} on {facts['task']}" + (f" at {length} tokens" if length else "")
        for reason, text in _counts(run.record):
            methods = lines.setdefault((where, reason), {})
            methods.setdefault(facts["method"], {})[f"{facts['language']} {text}"] = None
    notes = []
    for (where, reason), methods in lines.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for method, counts in methods.items():
            alike.setdefault(tuple(counts), []).append(method)
        for texts, names in alike.items():
            of = f" ({', '.join(names)})" if len(alike) > 1 else ""
            notes.append(f"{where}{of}: {reason}, test: {', '.join(texts)}.")
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
        if type(lost) is int and 0 < lost <= total:
            ceiling = 100 * (1 - lost / total)
            yield reason, f"{lost:,} of {total:,} rows (exact match cannot pass {ceiling:.1f})"
