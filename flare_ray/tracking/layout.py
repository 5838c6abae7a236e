"""How an experiment looks in MLflow's UI: its kind, its main metric, a note, and saved views of its table.

Saved views are MLflow's own, kept in tags of the experiment. `cells` has one row for each cell, with its mean,
deviation and interval beside what it was: mark rows, press Compare. `runs` has every run.

    url("http://127.0.0.1:5000", "3", "cells")
"""

from __future__ import annotations

import json
from collections.abc import Sequence

_SAVED_VIEW = "mlflow.sharedViewState."
_MADE = 1_767_225_600_000  # milliseconds; the same at every start, as the views are
_AXES = ("model", "language", "method", "fusion", "rank")


def experiment_tags(sweep: str, task: str, metric: str | None) -> dict[str, str]:
    """Of the experiment of a task. metric: the task's main one, None where there is none."""
    tags = {
        "flare_ray.sweep": sweep,
        "flare_ray.task": task,
        "mlflow.experimentKind": "custom_model_development",
    }
    if metric is None:
        return tags
    name = f"test_{metric}"
    spread = [f"{name}_std", f"{name}_ci_low", f"{name}_ci_high", "test_seeds"]
    note = (
        f"Sweep **{sweep}**, task **{task}**. A parent run is a cell: mean, sample deviation and 95% interval of its "
        f"seeds' `{name}`; its children are the runs. Saved views: *Cells*, *Runs*, *Failed*. Written from the store "
        "by flare-ray, and made again by `flare-ray sync`."
    )
    views = {
        "cells": ("Cells", "tags.`flare_ray.kind` = 'cell'", [name, *spread], _AXES),
        "runs": (
            "Runs",
            "tags.`flare_ray.kind` = 'run'",
            [name, "wall_seconds", "tokens_per_second"],
            (*_AXES, "seed"),
        ),
        "failed": ("Failed", "attributes.status = 'FAILED'", [], (*_AXES, "seed")),
    }
    saved = {f"{_SAVED_VIEW}{key}": _saved(*view, order=name) for key, view in views.items()}
    main = {
        "mlflow.experiment.primaryMetric.name": name,
        "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    }
    return tags | main | saved | {"mlflow.note.content": note}


def url(server: str, experiment: str, view: str | None = None, token: str | None = None) -> str:
    """The address of an experiment's runs in the UI, by one of its saved views. token: of `flare-ray ui`."""
    entrance = f"?token={token}" if token else ""
    end = f"?viewStateShareKey={view}" if view else ""
    return f"{server.rstrip('/')}/{entrance}#/experiments/{experiment}/runs{end}"


def _saved(label: str, where: str, metrics: Sequence[str], params: Sequence[str], order: str) -> str:
    """A saved view, in the words of MLflow's UI."""
    state = {
        "searchFilter": where,
        "orderByKey": f"metrics.`{order}`" if metrics else "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [f"metrics.`{one}`" for one in metrics] + [f"params.`{one}`" for one in params],
    }
    if not metrics:
        state["selectedColumns"] = ["tags.`error`", *(f"params.`{one}`" for one in params)]
    return json.dumps({"name": label, "createdAt": _MADE, "updatedAt": _MADE, "state": json.dumps(state)})
