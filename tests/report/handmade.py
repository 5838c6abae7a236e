"""Results made by hand: planned runs of NusaX with predictions of known quality, and what became of each."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flare_ray.report.results import Outcome, Results, RunResult, Selected, TaskFacts
from flare_ray.report.statistics import Predictions
from flare_ray.tasks.nusax import TASK

LABELS = TASK.labels
LANGUAGES = ("ace", "jav")
SEEDS = (1, 2, 3)
INSTANCES = 60
SETTINGS = {
    "zero_shot": "zero-shot",
    "translate_test": "translate-test",
}
Fate = Callable[[str, str, int], Outcome]
"""Of a row, a language and a seed."""


def variant(method: str, axes: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    values = [f"{axis}={value}" for axis, value in {**axes, **options}.items()]
    return f"{method} ({', '.join(values)})" if values else method


def method(name: str, skill: float = 0.6, **axes: Any) -> dict[str, Any]:
    """A method's point: rank, fusion and translation are axes, all else options. skill: share of right answers."""
    known = {axis: axes.pop(axis) for axis in ("rank", "fusion", "translation") if axis in axes}
    return {"method": name, "axes": known, "options": axes, "skill": skill}


ZERO, LORA = method("zero_shot", 0.4), method("lora", 0.6, rank=64)
FLARE = method("flare", 0.8, fusion="add_relu", rank=64)
INPUT = method("input_fusion", 0.7, rank=64)


def guesses(fingerprint: str, skill: float) -> Predictions:
    """The same for the same run; gold is the same in all runs."""
    chance = np.random.default_rng(zlib.crc32(fingerprint.encode()))
    gold = [LABELS[number % 3] for number in range(INSTANCES)]
    said = [
        one if chance.random() < skill else LABELS[(LABELS.index(one) + int(chance.integers(1, 3))) % 3]
        for one in gold
    ]
    return Predictions([str(n) for n in range(INSTANCES)], [[one] for one in gold], said)


def finished(_: str, __: str, ___: int) -> Outcome:
    return "finished"


def results(
    methods: Sequence[Mapping[str, Any]] = (ZERO, LORA, FLARE),
    fate: Fate = finished,
    *,
    models: Sequence[str] = ("xlm-r-large",),
    languages: Sequence[str] = LANGUAGES,
    seeds: Sequence[int] = SEEDS,
    selected: Mapping[str, Selected] | None = None,
    cost: Callable[[str], Mapping[str, Any]] = lambda method: {"wall_seconds": 36.0, "train_seconds": 30.0},
    settings: Mapping[str, Any] | None = None,
    error: str = "ValueError: loss is nan",
    name: str = "handmade",
) -> Results:
    """selected: by language, the search that asked for FLARE's runs there."""
    runs, said = [], {}
    for model in models:
        for one in methods:
            row = variant(one["method"], one["axes"], one["options"])
            for language in languages:
                for seed in seeds:
                    fingerprint = f"{model} {row} {language} {seed}"
                    said[fingerprint] = guesses(fingerprint, one["skill"])
                    outcome = fate(row, language, seed)
                    facts = {
                        "fingerprint": fingerprint,
                        "label": f"{model}/nusax/{language}/{row}/seed {seed}",
                        "model": model,
                        "task": "nusax",
                        "language": language,
                        "method": one["method"],
                        "variant": row,
                        "axes": one["axes"],
                        "options": one["options"],
                        "settings": {"rank": 64, **(settings or {})},
                        "identity": {"settings": {**one["axes"], **(settings or {})}, "base": f"b{seed}"},
                        "seed": seed,
                        "base": f"{model} {seed}",
                        "corpora": {},
                    }
                    record = {
                        "metrics": TASK.score(said[fingerprint].gold, said[fingerprint].predictions),
                        "cost": {
                            "trainable_parameters": 10,
                            "peak_process_mib": 800.0,
                            **cost(one["method"]),
                        },
                        "execution": {"workers": 1, "cpus_per_worker": 2},
                        "provenance": {"git_commit": "abc", "device": "cpu", "versions": {"torch": "2"}},
                    }
                    chosen = (selected or {}).get(language) if one["method"] == "flare" else None
                    runs.append(
                        RunResult(
                            facts,
                            SETTINGS.get(one["method"], "translate-train"),
                            outcome,
                            record if outcome == "finished" else None,
                            error if outcome in ("failed", "damaged") else "",
                            chosen,
                        )
                    )
    bases = {
        f"{model} {seed}": {"metrics": {"macro_f1": 90.0 + seed}, "cost": {"wall_seconds": 60.0}}
        for model in models
        for seed in seeds
    }
    table_5 = {model: {"epochs": 20, "batch_size": 64} for model in models}
    task = TaskFacts("macro_f1", TASK.score, LABELS, tuple(TASK.languages), table_5)
    return Results(name, tuple(runs), {"nusax": task}, bases, {}, said.__getitem__, ("Parallel text: gold.",))
