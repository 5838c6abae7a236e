"""Pairing rows: seeds by number, instances by id, metrics as the tasks define them, on any resample."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from flare_ray.registry import load
from flare_ray.report.statistics import Paired, Predictions, paired
from flare_ray.report.statistics.metrics import whole
from flare_ray.report.statistics.panel import Panel, Resampler

NUSAX, TYDIQA = load("tasks", "nusax"), load("tasks", "tydiqa")
LABELS = list(NUSAX.labels)
ANSWERS = ["the old house", "old house", "House!", "a house", "1923", "in 1923", "", None]


def runs(task: Any, seeds: Sequence[int], n: int, seed: int, gold_seed: int = 0) -> dict[int, Predictions]:
    gold_chance, chance = np.random.default_rng(gold_seed), np.random.default_rng(seed)
    ids = [f"id-{k}" for k in range(n)]
    if task is NUSAX:
        gold = [(LABELS[k],) for k in gold_chance.integers(0, 3, n)]
        guesses: list[str | None] = [*LABELS, None, "no label"]
    else:
        gold = [tuple(gold_chance.choice(ANSWERS[:6], 2)) for _ in range(n)]
        guesses = list(ANSWERS)
    return {
        s: Predictions(ids, gold, [guesses[k] for k in chance.integers(0, len(guesses), n)]) for s in seeds
    }


def pair_of(task: Any, metric: str, n: int = 40, language: str = "ace", **which: Any) -> Paired:
    first, second = runs(task, (1, 2, 3), n, 1), runs(task, (1, 2, 3), n, 2)
    named = {
        "task": task.name,
        "language": language,
        "metric": metric,
        "score": task.score,
        "labels": task.labels,
    }
    return paired(which.get("first", first), which.get("second", second), **named)


METRICS = [(NUSAX, "macro_f1"), (NUSAX, "accuracy"), (TYDIQA, "exact_match"), (TYDIQA, "f1")]


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_a_resample_scores_as_the_task_itself_would(task: Any, metric: str) -> None:
    pair, chance = pair_of(task, metric), np.random.default_rng(3)
    rows = [runs(task, (1, 2, 3), 40, seed) for seed in (1, 2)]
    drawn = chance.integers(0, 40, (5, 40))
    weights = np.array([np.bincount(one, minlength=40) for one in drawn]).astype(float)
    got = Resampler(Panel.of(pair)).differences(weights)
    for b, one in enumerate(drawn):
        for s, seed in enumerate((1, 2, 3)):
            scores = [
                task.score([row[seed].gold[k] for k in one], [row[seed].predictions[k] for k in one])[metric]
                for row in rows
            ]
            assert got[b, s] == pytest.approx(scores[0] - scores[1], abs=1e-9)


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_values_are_the_recorded_scores(task: Any, metric: str) -> None:
    values = pair_of(task, metric).values()
    for row, seed_of_row in enumerate((1, 2)):
        for s, run in enumerate(runs(task, (1, 2, 3), 40, seed_of_row).values()):
            assert values[row, s] == pytest.approx(task.score(run.gold, run.predictions)[metric])


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_influence_is_the_derivative_by_an_instances_weight(task: Any, metric: str) -> None:
    panel = Panel.of(pair_of(task, metric))
    resampler, step = Resampler(panel), 1e-5
    heavier = resampler.differences(np.ones((40, 40)) + step * np.eye(40))
    plain = resampler.differences(np.ones((1, 40)))
    influence = panel.influence()
    slope = (heavier - plain) / step
    assert slope == pytest.approx(influence.T / 40, abs=2e-3)
    assert influence.mean(1) == pytest.approx(np.zeros(3), abs=1e-9)


def test_instances_are_aligned_by_id() -> None:
    second = runs(NUSAX, (1, 2, 3), 40, 2)
    order = np.random.default_rng(4).permutation(40)
    shuffled = {
        s: Predictions(*([column[k] for k in order] for column in (run.ids, run.gold, run.predictions)))
        for s, run in second.items()
    }
    mixed = pair_of(NUSAX, "macro_f1", second=shuffled)
    assert mixed.differences() == pair_of(NUSAX, "macro_f1").differences()


def test_only_seeds_of_both_rows_are_paired_and_the_others_are_named() -> None:
    pair = pair_of(
        NUSAX, "accuracy", first=runs(NUSAX, (1, 2, 4, 5), 40, 1), second=runs(NUSAX, (2, 4, 9), 40, 2)
    )
    assert (pair.seeds, pair.unpaired_seeds) == ((2, 4), (1, 5, 9))
    with pytest.raises(ValueError, match="no seed has both"):
        pair_of(NUSAX, "accuracy", first=runs(NUSAX, (1,), 40, 1), second=runs(NUSAX, (2,), 40, 2))


def test_instances_that_a_run_lacks_are_left_out_and_counted() -> None:
    second = runs(NUSAX, (1, 2, 3), 40, 2)
    run = second[3]
    second[3] = Predictions(run.ids[2:], run.gold[2:], run.predictions[2:])
    pair = pair_of(NUSAX, "accuracy", second=second)
    assert (len(pair.ids), pair.unpaired_instances) == (38, 2)
    assert pair.ids == tuple(run.ids[2:])


def test_what_cannot_be_paired_is_said() -> None:
    other_gold = runs(NUSAX, (1, 2, 3), 40, 2, gold_seed=9)
    with pytest.raises(ValueError, match="differ in the gold"):
        pair_of(NUSAX, "accuracy", second=other_gold)
    one = runs(NUSAX, (1,), 40, 1)[1]
    twice = Predictions([*one.ids[1:], one.ids[1]], one.gold, one.predictions)
    with pytest.raises(ValueError, match="1 ids of a run occur twice"):
        pair_of(NUSAX, "accuracy", first={1: twice})
    with pytest.raises(ValueError, match="neither a mean nor macro F1"):
        paired(
            {1: one},
            {1: one},
            task="t",
            language="l",
            metric="odd",
            score=lambda gold, _: {"odd": 100.0 / len(gold)},
        )


def test_languages_share_seeds_and_translations_of_an_instance() -> None:
    ace, jav = (
        pair_of(NUSAX, "accuracy"),
        pair_of(NUSAX, "accuracy", language="jav", first=runs(NUSAX, (2, 3, 4), 40, 7)),
    )
    panel = Panel.of([ace, jav])
    assert (panel.seeds, panel.instances, panel.left_out) == ((2, 3), 40, ((1,), (1, 4)))
    alone = [[one.differences()[seed] for seed in (2, 3)] for one in (ace, jav)]
    assert panel.differences() == pytest.approx(np.mean(alone, axis=0))
    with pytest.raises(ValueError, match="twice"):
        Panel.of([ace, ace])


def test_a_panels_resample_draws_an_id_in_each_language_that_has_it() -> None:
    ace = pair_of(NUSAX, "macro_f1")
    cut = {
        s: Predictions(r.ids[::-2], r.gold[::-2], r.predictions[::-2])
        for s, r in runs(NUSAX, (1, 2, 3), 40, 5).items()
    }
    jav = pair_of(NUSAX, "macro_f1", language="jav", first=cut)
    weights = np.random.default_rng(6).integers(0, 3, (4, 40)).astype(float)
    got = Resampler(Panel.of([ace, jav])).differences(weights)
    of_jav = weights[:, [int(name[3:]) for name in jav.ids]]
    each = [Resampler(Panel.of(ace)).differences(weights), Resampler(Panel.of(jav)).differences(of_jav)]
    assert got == pytest.approx(np.mean(each, axis=0))


def test_swapping_rows_flips_signs() -> None:
    for task, metric in METRICS:
        pair = pair_of(task, metric)
        assert pair.swapped().effect == -pair.effect
        assert np.array_equal(whole(pair.swapped().scores), pair.values()[::-1])
    assert json.dumps(pair.differences())  # plain numbers
