"""Bases and runs as plain JSON values: for the trip to a worker, and inside records."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec

_CORPUS = tuple(field.name for field in fields(Corpus))


def base_to_dict(base: Base) -> dict[str, Any]:
    """A base model as JSON values; `base_from_dict` gives it back."""
    return {
        "model": base.model.model_dump(),
        "task": base.task,
        "source": base.source,
        "max_dropped": base.max_dropped,
        "seed": base.seed,
        "settings": base.settings,
        "identity": base.identity,
    }


def base_from_dict(value: dict[str, Any]) -> Base:
    """The inverse of `base_to_dict`; not validated again: a checkpoint's folder need not be on this machine."""
    return Base(**{**value, "model": ModelSpec.model_construct(**value["model"])})


def run_to_dict(run: Run) -> dict[str, Any]:
    """A run without its base as JSON values; `run_from_dict` gives it back."""
    cell = run.cell
    return {
        "language": cell.language,
        "method": cell.method,
        "axes": dict(cell.axes),
        "options": dict(cell.options),
        "seed": run.seed,
        "settings": run.settings,
        "identity": run.identity,
        "corpora": [corpus_to_dict(corpus) for corpus in run.corpora],
    }


def corpus_to_dict(corpus: Corpus) -> dict[str, Any]:
    """A translated split as JSON values; `Corpus(**value)` gives it back."""
    return {name: getattr(corpus, name) for name in _CORPUS}


def run_from_dict(value: dict[str, Any], base: Base) -> Run:
    """The inverse of `run_to_dict`."""
    axes, options = (tuple(value[name].items()) for name in ("axes", "options"))
    cell = Cell(base.model, base.task, value["language"], value["method"], axes, options)
    corpora = tuple(Corpus(**corpus) for corpus in value["corpora"])
    return Run(cell, value["seed"], base, value["settings"], value["identity"], corpora)


def run_facts(run: Run) -> dict[str, Any]:
    """What a record says about which run it is, for tables, queries and people."""
    cell = run.cell
    return {
        "fingerprint": run.fingerprint,
        "label": run.label,
        "cell": cell.label,
        "model": cell.model.name,
        "family": cell.model.family,
        "checkpoint": cell.model.checkpoint,
        "task": cell.task,
        "language": cell.language,
        "method": cell.method,
        "variant": cell.variant,
        "axes": dict(cell.axes),
        "options": dict(cell.options),
        "seed": run.seed,
        "settings": run.settings,
        "identity": run.identity,
        "base": run.base.fingerprint,
        "corpora": {corpus.split: corpus.fingerprint for corpus in run.corpora},
    }
