"""The paper's own numbers (published.csv says which, and from where), and how far a sweep's conditions are from its.

>>> find("2", "xlm-r-large", "flare", "fusion=add", "nusax", "avg")
79.56
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources

from flare_ray.report.results import Results, RowFacts

RANK = 64
FUSION = "add_relu"
TRANSLATOR = "nllb-200-3.3b"
TRANSLATORS = (TRANSLATOR, "nllb-200-distilled-600m")
"""Of the main results, and the smaller one of Figure 3."""
_TABLE_5 = ("epochs", "batch_size", "learning_rate", "max_length")


@cache
def rows() -> tuple[Mapping[str, str], ...]:
    """Every published number with its table, model, method, variant, task, language and metric."""
    text = resources.files("flare_ray.report").joinpath("published.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(csv.DictReader(lines))


@cache
def _numbers() -> dict[tuple[str, ...], float]:
    keys = ("table", "model", "method", "variant", "task", "language")
    return {tuple(row[key] for key in keys): float(row["value"]) for row in rows()}


def find(table: str, model: str, method: str, variant: str, task: str, language: str) -> float | None:
    """A published number in points; None where the paper's is not to be had."""
    return _numbers().get((table, model, method, variant, task, language))


def is_default(row: RowFacts, but: str | None = None) -> bool:
    """Whether a row is the paper's default of its method, one axis aside: rank 64, add_relu, no option, no search."""
    wanted = {"rank": RANK, "fusion": FUSION, "translation": TRANSLATOR}
    axes = {axis: value for axis, value in row.axes.items() if axis != but}
    return not row.selected and not row.options and all(wanted.get(axis) == v for axis, v in axes.items())


def departures(results: Results, model: str, task: str, row: RowFacts) -> list[str]:
    """In what the runs of a row differ from the paper's conditions: Table 5's values, and the translator."""
    table_5 = results.tasks[task].hyperparameters.get(model, {})
    found = [
        f"{name} {row.settings[name]} (paper: {table_5[name]})"
        for name in _TABLE_5
        if name in row.settings and name in table_5 and row.settings[name] != table_5[name]
    ]
    if "limit" in row.settings:
        found.append(f"limited to {row.settings['limit']} rows per split (paper: all)")
    if row.settings.get("translation") in ("gold", "files"):
        found.append(f"parallel text: {row.settings['translation']} (paper: machine-translated)")
    strange = [one for one in results.translators(model, task, row.name) if one not in TRANSLATORS]
    return found + [f"translated by {one} (paper: {TRANSLATOR})" for one in strange]
