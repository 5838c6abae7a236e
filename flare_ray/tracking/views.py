"""What MLflow shows of a record: of a run's, and of a translated split's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """One MLflow run. metrics: name, value and step; files: names of artifacts in the record's folder."""

    tags: dict[str, str]
    params: dict[str, Any]
    metrics: list[tuple[str, float, int]]
    files: tuple[str, ...]


def run_view(record: Record) -> View:
    """A run: test metrics, costs and counts at the chosen step, and the learning curve by step."""
    provenance = record["provenance"]
    names = ("cell", "model", "task", "language", "method", "variant")
    tags = {
        "flare_ray.base": record["base"],
        **{name: record[name] for name in names},
        "seed": str(record["seed"]),
        "device": provenance.get("device", "unknown"),
    }
    named = {name: record[name] for name in ("model", "checkpoint", "task", "language", "method", "seed")}
    params = dict(_flat({**named, **record["axes"], **record["settings"]}))
    return View(tags | _origin(record), params, _run_metrics(record), ("predictions.parquet", "record.json"))


def corpus_view(record: Record) -> View:
    """A translated split: how many rows came through, quality against gold, and pairs to look at, the worst first."""
    tags = {name: record[name] for name in ("task", "language", "split")}
    tags["translator"] = record["translator"]["model"]
    counts = {
        "rows": record["rows"],
        "usable": record["usable"],
        **{f"failed_{reason.replace(' ', '_')}": count for reason, count in record["failed"].items()},
        **{f"flagged_{flag}": count for flag, count in record["flagged"].items()},
        **record["cost"],
    }
    if "retention" in record:
        counts["retention"] = record["retention"]
    for column, scores in record["against_gold"].items():
        counts |= {f"{name}_{column}": scores[name]["score"] for name in ("chrf", "bleu")}
    params = dict(_flat({"translator": record["translator"], "answers": record["answers"]}))
    metrics = [(name, float(value), 0) for name, value in counts.items()]
    return View(tags | _origin(record), params, metrics, ("sample.json", "record.json"))


def _origin(record: Record) -> dict[str, str]:
    """Which code made it."""
    provenance = record["provenance"]
    commit = provenance.get("git_commit") or "unknown"
    versions = {f"version.{name}": version for name, version in provenance.get("versions", {}).items()}
    return {"mlflow.source.git.commit": commit, "git_commit": commit, **versions}


def _run_metrics(record: Record) -> list[tuple[str, float, int]]:
    chosen = record["chosen_step"]
    final = {f"test_{name}": value for name, value in record["metrics"].items()}
    final |= {f"chosen_{name}": value for name, value in record["validation"].items()}
    final |= {f"rows_{name}": value for name, value in record["rows"].items()}
    final |= {
        f"data_{split}_{reason}".replace(":", "").replace(" ", "_"): count
        for split, counts in record["data"].items()
        for reason, count in counts.items()
    }
    final |= record["cost"] | {"chosen_epoch": record["chosen_epoch"], "chosen_step": chosen}
    metrics = [(name, float(value), chosen) for name, value in final.items()]
    for entry in record["history"]:
        curve = {name: value for name, value in entry.items() if name != "step"}
        metrics += [(name, float(value), int(entry["step"])) for name, value in curve.items()]
    return metrics


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value
