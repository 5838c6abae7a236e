"""Two rows of a sweep on one task and language: their predictions by seed, aligned instance by instance.

>>> wrong, right = [Predictions(["a", "b"], [["yes"], ["no"]], [guess, "no"]) for guess in ("no", "yes")]
>>> def score(gold, guesses):
...     return {"accuracy": 100 * sum(g in w for w, g in zip(gold, guesses)) / len(gold)}
>>> paired({1: right, 2: right}, {1: wrong}, task="t", language="l", metric="accuracy", score=score).effect
50.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flare_ray.report.statistics.metrics import Codes, Floats, MacroF1, Means, whole

Score = Callable[[Sequence[Sequence[str]], Sequence[str | None]], Mapping[str, float]]


@dataclass(frozen=True)
class Predictions:
    """What one run said: instance ids, all accepted answers of each, and a prediction of each (None: unreadable)."""

    ids: Sequence[str]
    gold: Sequence[Sequence[str]]
    predictions: Sequence[str | None]


@dataclass(frozen=True, eq=False)
class Paired:
    """Two rows on the same instances with the same seeds. Differences are the first row minus the second.

    unpaired_seeds: seeds that only one row has; unpaired_instances: instances that some run lacks. Neither is used.
    """

    task: str
    language: str
    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    scores: Means | MacroF1
    unpaired_seeds: tuple[int, ...] = ()
    unpaired_instances: int = 0

    def values(self) -> Floats:
        """The metric of both rows by seed [2, S], in points."""
        return whole(self.scores)

    def differences(self) -> dict[int, float]:
        """First minus second by seed, in points."""
        first, second = self.values()
        return dict(zip(self.seeds, (first - second).tolist(), strict=True))

    @property
    def effect(self) -> float:
        """Mean difference over seeds, in points."""
        return float(np.mean(list(self.differences().values())))

    def swapped(self) -> Paired:
        """Second minus first."""
        return Paired(
            self.task,
            self.language,
            self.seeds,
            self.ids,
            self.scores.swapped(),
            self.unpaired_seeds,
            self.unpaired_instances,
        )


def paired(
    first: Mapping[int, Predictions],
    second: Mapping[int, Predictions],
    *,
    task: str,
    language: str,
    metric: str,
    score: Score,
    labels: Sequence[str] = (),
) -> Paired:
    """Pairs two rows' runs (by seed) by seed and their instances by id.

    score: the task's own `score`, which gives `metric` in points: on one instance it is that instance's score, so
    nothing is defined a second time. `macro_f1`, which is no mean over instances, needs `labels` instead. What is
    built is checked against `score` on a whole run: ValueError when the metric is neither.

    Raises ValueError without a common seed or instance, when an id occurs twice, or when runs differ in gold.
    """
    seeds = tuple(sorted(set(first) & set(second)))
    if not seeds:
        raise ValueError(f"no seed has both rows: {sorted(first)} and {sorted(second)}")
    runs = [[row[seed] for seed in seeds] for row in (first, second)]
    ids, places, seen = _aligned(runs)
    gold = _gold(runs, places)
    guesses = [
        [[run.predictions[k] for k in place] for run, place in zip(row, row_places, strict=True)]
        for row, row_places in zip(runs, places, strict=True)
    ]
    build = _macro_f1 if metric == "macro_f1" else _means
    scores = build(gold, guesses, metric, score, labels)
    told, made = score(gold, guesses[0][0])[metric], float(whole(scores)[0, 0])
    if not np.isclose(told, made, atol=1e-6):
        raise ValueError(
            f"{metric} of a run is {told}, from its instances {made}: neither a mean nor macro F1"
        )
    return Paired(
        task, language, seeds, ids, scores, tuple(sorted(set(first) ^ set(second))), seen - len(ids)
    )


Runs = Sequence[Sequence[Predictions]]
Guesses = Sequence[Sequence[Sequence[str | None]]]


def _aligned(runs: Runs) -> tuple[tuple[str, ...], list[list[list[int]]], int]:
    """Ids that all runs have, in the first run's order; where each run has them; how many ids any run has."""
    places = [[{name: k for k, name in enumerate(run.ids)} for run in row] for row in runs]
    for row, row_places in zip(runs, places, strict=True):
        for run, place in zip(row, row_places, strict=True):
            if len(place) != len(run.ids):
                raise ValueError(f"{len(run.ids) - len(place)} ids of a run occur twice")
            if not len(run.ids) == len(run.gold) == len(run.predictions):
                raise ValueError("a run's ids, gold and predictions differ in length")
    everywhere = set.intersection(*(set(place) for row in places for place in row))
    if not everywhere:
        raise ValueError("no instance is in all runs")
    ids = tuple(name for name in runs[0][0].ids if name in everywhere)
    anywhere = set.union(*(set(place) for row in places for place in row))
    return ids, [[[place[name] for name in ids] for place in row] for row in places], len(anywhere)


def _gold(runs: Runs, places: Sequence[Sequence[Sequence[int]]]) -> list[tuple[str, ...]]:
    """Accepted answers by instance, the same in all runs."""
    found = [
        [tuple(run.gold[k]) for k in place]
        for row, row_places in zip(runs, places, strict=True)
        for run, place in zip(row, row_places, strict=True)
    ]
    if any(other != found[0] for other in found[1:]):
        raise ValueError("runs differ in the gold answers of the same instances")
    return found[0]


def _means(
    gold: Sequence[tuple[str, ...]], guesses: Guesses, metric: str, score: Score, labels: Sequence[str]
) -> Means:
    """Each instance scored alone; what was scored once is remembered."""
    known: dict[tuple[tuple[str, ...], str | None], float] = {}

    def one(wanted: tuple[str, ...], guess: str | None) -> float:
        if (wanted, guess) not in known:
            known[wanted, guess] = score([wanted], [guess])[metric]
        return known[wanted, guess]

    values = [[[one(w, g) for w, g in zip(gold, run, strict=True)] for run in row] for row in guesses]
    return Means(np.array(values))


def _macro_f1(
    gold: Sequence[tuple[str, ...]], guesses: Guesses, metric: str, score: Score, labels: Sequence[str]
) -> MacroF1:
    code = {label: k for k, label in enumerate(labels)}
    strange = sorted({wanted[0] for wanted in gold} - set(code))
    if strange:
        raise ValueError(f"gold labels {strange} are none of {list(labels)}")
    wanted: Codes = np.array([code[accepted[0]] for accepted in gold])
    predicted = [
        [[code.get(guess, -1) if guess is not None else -1 for guess in run] for run in row]
        for row in guesses
    ]
    return MacroF1(wanted, np.array(predicted), len(labels))
