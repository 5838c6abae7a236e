"""From MLflow alone to what a report is made of: the numbers are those of the store's records, which MLflow keeps.

What MLflow does not know a report from it does not say: planned runs that have not ended, and what base models cost.
"""

from __future__ import annotations

from typing import Any

from flare_ray import registry
from flare_ray.commands.gather import ACTIVATIONS, PREDICTIONS, predictions_of, table_of, task_facts
from flare_ray.report.results import Results, RunResult
from flare_ray.tracking.reading import Recorded, recorded

_ROWS = ("zero_shot", "translate_test", "lora", "x_mixup", "input_fusion", "flare_mt", "flare")
_NOTE = "From MLflow's records: planned runs that have not ended are not known there, nor is what base models cost."


def gather_mlflow(uri: str, sweep: str) -> Results:
    """All ended runs of a sweep that MLflow has. Raises InputError where it has none."""
    found = recorded(uri, sweep)
    runs = {one.fingerprint: one for one in found if one.tags.get("flare_ray.kind") == "run"}
    corpora = {one.fingerprint: one.record for one in found if one.tags.get("flare_ray.kind") == "corpus"}
    results = sorted(map(_result, runs.values()), key=lambda run: _place(run.facts))
    tasks = dict.fromkeys(run.facts["task"] for run in results)
    return Results(
        sweep,
        tuple(results),
        task_facts(tasks, {run.facts["model"]: run.facts["family"] for run in results if run.record}),
        corpora=corpora,
        predictions=lambda fingerprint: predictions_of(runs[fingerprint].read(PREDICTIONS)),
        notes=(_NOTE,),
        activations=lambda fingerprint: _activations(runs[fingerprint]),
    )


def _result(one: Recorded) -> RunResult:
    tags = one.tags
    method = (one.record if one.status == "FINISHED" else tags)["method"]
    setting = registry.load("methods", method).setting
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


def _activations(one: Recorded) -> list[dict[str, Any]] | None:
    try:
        return list(table_of(one.read(ACTIVATIONS)).to_pylist())
    except FileNotFoundError:
        return None
