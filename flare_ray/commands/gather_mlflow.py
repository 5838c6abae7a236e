"""From MLflow alone to what a report is made of: the numbers are those of the store's records, which MLflow keeps.

What MLflow does not know a report from it does not say: planned runs that have not ended, and what base models cost.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from flare_ray import registry
from flare_ray.commands.gather import ACTIVATIONS, PREDICTIONS
from flare_ray.report.results import Results, RunResult, TaskFacts
from flare_ray.report.statistics import Predictions
from flare_ray.tracking.reading import Recorded, recorded

_ROWS = ("zero_shot", "translate_test", "lora", "x_mixup", "input_fusion", "flare_mt", "flare")
_COLUMNS = ("id", "gold", "prediction")
_NOTE = "From MLflow's records: planned runs that have not ended are not known there, nor is what base models cost."


def gather_mlflow(uri: str, sweep: str) -> Results:
    """All ended runs of a sweep that MLflow has. Raises InputError where it has none."""
    found = recorded(uri, sweep)
    runs = {one.fingerprint: one for one in found if one.tags.get("flare_ray.kind") == "run"}
    corpora = {one.fingerprint: one.record for one in found if one.tags.get("flare_ray.kind") == "corpus"}
    results = sorted(map(_result, runs.values()), key=lambda run: _place(run.facts))
    return Results(
        sweep,
        tuple(results),
        _tasks([run.facts for run in results]),
        corpora=corpora,
        predictions=lambda fingerprint: _predictions(runs[fingerprint]),
        notes=(_NOTE,),
        activations=lambda fingerprint: _activations(runs[fingerprint]),
    )


def _result(one: Recorded) -> RunResult:
    tags = one.tags
    setting = registry.load("methods", tags["method"]).setting
    if one.status == "FINISHED":
        return RunResult(one.record, setting, "finished", one.record)
    names = ("cell", "model", "task", "language", "method", "variant")
    facts: dict[str, Any] = {name: tags[name] for name in names}
    facts |= {"fingerprint": one.fingerprint, "label": f"{tags['cell']}/seed {tags['seed']}"}
    facts |= {"seed": int(tags["seed"]), "base": tags["flare_ray.base"], "corpora": {}}
    facts |= {"axes": {}, "options": {}, "settings": {}, "family": "", "checkpoint": ""}
    return RunResult(facts, setting, "failed", None, tags.get("error", "unknown"))


def _place(facts: Any) -> tuple[Any, ...]:
    """Rows in the paper's order, others behind them."""
    method = facts["method"]
    row = _ROWS.index(method) if method in _ROWS else len(_ROWS)
    return facts["model"], facts["task"], facts["language"], row, facts["variant"], facts["seed"]


def _tasks(runs: Sequence[Any]) -> dict[str, TaskFacts]:
    found = {}
    for name in dict.fromkeys(facts["task"] for facts in runs):
        task = registry.load("tasks", name)
        families = {facts["model"]: facts["family"] for facts in runs if facts["family"]}
        table_5 = {
            model: vars(task.hyperparameters(registry.load("models", family).architecture))
            for model, family in families.items()
        }
        found[name] = TaskFacts(task.metric, task.score, task.labels, tuple(task.languages), table_5)
    return found


def _predictions(one: Recorded) -> Predictions:
    kept = _table(one, PREDICTIONS)
    return Predictions(*(kept.column(name).to_pylist() for name in _COLUMNS))


def _activations(one: Recorded) -> list[dict[str, Any]] | None:
    try:
        return list(_table(one, ACTIVATIONS).to_pylist())
    except FileNotFoundError:
        return None


def _table(one: Recorded, name: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(one.read(name)))
