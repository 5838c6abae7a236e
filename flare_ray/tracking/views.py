"""What MLflow shows of a record: of a run's, of a failure's, of a cell's and of a translated split's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flare_ray.redaction import redacted
from flare_ray.tracking.cells import aggregate

Record = Mapping[str, Any]
_NAMES = ("cell", "model", "task", "language", "method", "variant")
_PLACES = ("model", "checkpoint", "task", "language", "method")


@dataclass(frozen=True)
class Data:
    """A split that a run read, as MLflow's dataset input. context: train, validation, test."""

    name: str
    digest: str
    source: str
    rows: int
    context: str

    @property
    def profile(self) -> str:
        """As MLflow keeps it."""
        return json.dumps({"num_rows": self.rows})


@dataclass(frozen=True)
class View:
    """One MLflow run.

    metrics: name, value and step. files: of the record's folder, those that are artifacts; a name that ends with a
    slash is a folder that need not be there. extras: files that not every record has. texts: further artifacts, name
    -> content. started, ended: Unix time in seconds.
    """

    name: str
    tags: dict[str, str]
    params: dict[str, Any]
    metrics: list[tuple[str, float, int]]
    started: float
    ended: float
    files: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    datasets: tuple[Data, ...] = ()
    status: str = "FINISHED"


def run_view(record: Record) -> View:
    """A run: test metrics, costs, system use and counts at the chosen step, and the learning curve by step."""
    tags = {
        "flare_ray.kind": "run",
        "flare_ray.base": record["base"],
        **{f"flare_ray.corpus.{split}": one for split, one in record.get("corpora", {}).items()},
        **{name: record[name] for name in _NAMES},
        "seed": str(record["seed"]),
        "device": record["provenance"].get("device", "unknown"),
    }
    return View(
        record["label"],
        tags | _origin(record),
        _params(record) | {"seed": record["seed"]},
        _run_metrics(record),
        record["started"],
        record["ended"],
        files=("predictions.parquet", "record.json", "adapter/"),
        extras=("activations.parquet",),
        texts={"config.json": _config(record)} | ({"git.diff": record["diff"]} if "diff" in record else {}),
        datasets=tuple(_datasets(record)),
    )


def failure_view(record: Record) -> View:
    """A run that failed: which it is, why, and the log.

    record: the run's facts and, under `failure`, what was written about it.
    """
    failure, at = record["failure"], float(record["failure"].get("at", time.time()))
    error = redacted(str(failure.get("error", "unknown")))
    tags = {
        "flare_ray.kind": "run",
        "flare_ray.base": record["base"],
        **{name: record[name] for name in _NAMES},
        "seed": str(record["seed"]),
        "failure": str(failure.get("kind", "unknown")),
        "error": error[:5000],
    }
    log = f"{record['label']}\n{error}\n\n{redacted(str(failure.get('traceback', 'no traceback')))}\n"
    return View(
        record["label"],
        tags | _origin(failure),
        _params(record) | {"seed": record["seed"]},
        [],
        at,
        at,
        texts={"failure.log": log, "failure.json": redacted(json.dumps(dict(failure), indent=1))},
        status="FAILED",
    )


def cell_view(run: View, metrics: Iterable[Mapping[str, float]]) -> View:
    """The parent of a cell's runs. run: one of them. metrics: of each finished one."""
    left_out = ("flare_ray.base", "seed", "device", "failure", "error", "mlflow.parentRunId")
    tags = {name: value for name, value in run.tags.items() if name not in left_out}
    params = {name: value for name, value in run.params.items() if name != "seed"}
    found = aggregate(metrics)
    values = [(name, value, int(found["test_seeds"])) for name, value in found.items()]
    name = run.tags["cell"]
    return View(name, tags | {"flare_ray.kind": "cell"}, params, values, run.started, run.ended)


def corpus_view(record: Record) -> View:
    """A translated split: how many rows came through, quality against gold, and pairs to look at, the worst first."""
    tags = {name: record[name] for name in ("task", "language", "split")}
    tags |= {"flare_ray.kind": "corpus", "translator": record["translator"]["model"]}
    counts = {
        "rows": record["rows"],
        "usable": record["usable"],
        **{f"failed_{reason.replace(' ', '_')}": count for reason, count in record["failed"].items()},
        **{f"flagged_{flag}": count for flag, count in record["flagged"].items()},
        **record["cost"],
    }
    if "retention" in record:
        counts["retention"] = record["retention"]
    if "length_ratio" in record:
        counts["length_ratio"] = record["length_ratio"]["ratio"]
    if "round_trip" in record:
        counts["round_trip_chrf"] = record["round_trip"]["chrf"]
    for column, scores in record["against_gold"].items():
        counts |= {f"{name}_{column}": scores[name]["score"] for name in ("chrf", "bleu")}
    params = dict(_flat({"translator": record["translator"], "answers": record["answers"]}))
    metrics = [(name, float(value), 0) for name, value in counts.items()]
    return View(
        record["label"],
        tags | _origin(record),
        params,
        metrics,
        record["started"],
        record["ended"],
        files=("sample.json", "record.json"),
    )


def _params(record: Record) -> dict[str, Any]:
    """The resolved configuration without the seed."""
    named = {name: record[name] for name in _PLACES}
    return dict(_flat({**named, **record["axes"], **record.get("options", {}), **record["settings"]}))


def _config(record: Record) -> str:
    """All that determines a run, and with what resources it was made."""
    names = (
        *_PLACES,
        "family",
        "seed",
        "axes",
        "options",
        "settings",
        "base",
        "corpora",
        "identity",
        "execution",
    )
    return json.dumps({name: record[name] for name in names if name in record}, indent=1, ensure_ascii=False)


def _origin(record: Record) -> dict[str, str]:
    """Which code made it."""
    provenance = record.get("provenance", {})
    commit = provenance.get("git_commit") or "unknown"
    tags = {"mlflow.source.git.commit": commit, "git_commit": commit, "mlflow.source.name": "flare-ray"}
    if provenance.get("git_changed") is not None:
        tags["git_changed"] = str(provenance["git_changed"]).lower()
    if diff := provenance.get("git_diff"):
        tags["git_diff"] = diff["blake2b"]
    for name in ("python", "platform", "host", "sweep"):
        if name in provenance:
            tags["first_sweep" if name == "sweep" else name] = str(provenance[name])
    versions = {f"version.{name}": version for name, version in provenance.get("versions", {}).items()}
    return tags | versions


def _datasets(record: Record) -> Iterable[Data]:
    """The splits that were read: the target's, and whose English or translation stood beside it."""
    data = record["identity"].get("data", {})
    for split, rows in record["rows"].items():
        corpus = record.get("corpora", {}).get(split)
        source = {name: data[name] for name in ("target", "source") if name in data}
        source |= {"translated": corpus} if corpus else {}
        name = f"{record['task']}/{record['language']}/{split}"
        yield Data(name, _digest(source), json.dumps(source, sort_keys=True), int(rows), split)


def _digest(value: Any) -> str:
    import hashlib

    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def _run_metrics(record: Record) -> list[tuple[str, float, int]]:
    chosen = record["chosen_step"]
    final = {f"test_{name}": value for name, value in record["metrics"].items()}
    final |= {f"test_{name}/{record['language']}": value for name, value in record["metrics"].items()}
    final |= {f"chosen_{name}": value for name, value in record["validation"].items()}
    final |= {f"rows_{name}": value for name, value in record["rows"].items()}
    final |= {
        f"data_{split}_{reason}".replace(":", "").replace(" ", "_"): count
        for split, counts in record["data"].items()
        for reason, count in counts.items()
    }
    final |= {f"ceiling_{split}": value for split, value in record.get("ceilings", {}).items()}
    final |= record["cost"] | {"chosen_epoch": record["chosen_epoch"], "chosen_step": chosen}
    metrics = [(name, float(value), chosen) for name, value in final.items()]
    for entry in record["history"]:
        curve = {name: value for name, value in entry.items() if name != "step"}
        metrics += [(name, float(value), int(entry["step"])) for name, value in curve.items()]
    return metrics + _system_metrics(record.get("system", {}))


def _system_metrics(system: Record) -> list[tuple[str, float, int]]:
    """What the worker's machine did: mean and peak, and the series that MLflow's tab of system metrics draws."""
    found = [
        (f"{name}_{kind}", float(value), 0)
        for name, summary in system.get("summary", {}).items()
        for kind, value in summary.items()
    ]
    for name, values in system.get("series", {}).items():
        found += [
            (f"system/{name}", float(v), int(s)) for s, v in zip(system["seconds"], values, strict=True)
        ]
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value
