"""The interval: scipy's where scipy has one, Student's where seeds alone vary, and laws."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.error_rates import World
from flare_ray.report.statistics import Paired, paired_bootstrap
from flare_ray.report.statistics.bootstrap import standard_error
from flare_ray.report.statistics.metrics import Means
from flare_ray.report.statistics.panel import Panel

CHANCE_SEED = 5


def simulated(**changes: object) -> list[Paired]:
    return World(**changes).family(np.random.default_rng(CHANCE_SEED))["first - 1"]  # type: ignore[arg-type]


def plain(values: np.ndarray) -> Paired:
    """values [2, S, N]."""
    _, seeds, instances = values.shape
    return Paired("t", "l", tuple(range(seeds)), tuple(map(str, range(instances))), Means(values))


def test_with_one_seed_it_is_scipys_paired_percentile_interval() -> None:
    [pair] = simulated(languages=1, seeds=1, instances=400)
    assert isinstance(pair.scores, Means)
    first, second = pair.scores.values[:, 0]
    expected = stats.bootstrap(
        (first, second),
        lambda a, b, axis: np.mean(a, axis) - np.mean(b, axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(0),
    )
    got = paired_bootstrap(pair)
    assert got.standard_error == pytest.approx(expected.standard_error, rel=0.03)
    assert (got.low, got.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.3)
    assert not got.covers_seeds


def test_where_seeds_alone_vary_it_is_students_paired_interval() -> None:
    differences = np.array([3.0, -1.0, 2.0, 4.0, 1.5, 0.5, 2.2, -0.3])
    values = np.zeros((2, 8, 30))
    values[0] = differences[:, None]
    got = paired_bootstrap(plain(values))
    expected = stats.ttest_1samp(differences, 0)
    low, high = expected.confidence_interval(0.95)
    assert got.standard_error == pytest.approx(stats.sem(differences))
    assert got.degrees_of_freedom == pytest.approx(7)
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.5)
    assert got.p == pytest.approx(expected.pvalue, abs=0.02)


def test_the_standard_error_is_that_of_the_two_way_table() -> None:
    """Known components: var of the mean = 4/S + 9/N + 16/(SN)."""
    chance, seeds, instances = np.random.default_rng(0), 400, 500
    table = 2 * chance.standard_normal((seeds, 1)) + 3 * chance.standard_normal((1, instances))
    table += 4 * chance.standard_normal((seeds, instances))
    by_seed = table.mean(1)
    error, freedom = standard_error(by_seed, table - by_seed[:, None])
    assert error**2 == pytest.approx(4 / seeds + 9 / instances + 16 / (seeds * instances), rel=0.1)
    assert freedom > seeds


def test_swapping_rows_mirrors_it() -> None:
    for macro in (False, True):
        pairs = simulated(macro=macro)
        there = paired_bootstrap(pairs, resamples=500)
        back = paired_bootstrap([pair.swapped() for pair in pairs], resamples=500)
        assert (back.effect, back.low, back.high) == pytest.approx((-there.effect, -there.high, -there.low))
        assert (back.p, back.standard_error) == pytest.approx((there.p, there.standard_error))


def test_what_both_rows_gain_alike_changes_nothing_and_what_one_gains_moves_it() -> None:
    [pair] = simulated(languages=1)
    assert isinstance(pair.scores, Means)
    values = pair.scores.values
    was = paired_bootstrap(pair, resamples=500)
    alike = values + np.linspace(-5, 5, values.shape[1])[None, :, None]
    one = values + np.array([7.0, 0.0])[:, None, None]
    ends = np.array([was.low, was.high])
    same = paired_bootstrap(replace(pair, scores=Means(alike)), resamples=500)
    moved = paired_bootstrap(replace(pair, scores=Means(one)), resamples=500)
    assert (same.low, same.high) == pytest.approx(tuple(ends))
    assert (moved.low, moved.high) == pytest.approx(tuple(ends + 7))


def test_the_order_of_seeds_and_instances_does_not_matter() -> None:
    [pair] = simulated(languages=1)
    chance = np.random.default_rng(1)
    seeds, places = chance.permutation(5), chance.permutation(len(pair.ids))
    other = replace(pair, ids=tuple(pair.ids[k] for k in places), scores=pair.scores.select(seeds, places))
    was, got = paired_bootstrap(pair), paired_bootstrap(other)
    assert got.standard_error == pytest.approx(was.standard_error)
    assert (got.low, got.high) == pytest.approx((was.low, was.high), abs=0.05 * (was.high - was.low))


def test_chunks_are_no_part_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = simulated()
    whole = paired_bootstrap(pairs, resamples=2000)
    monkeypatch.setattr("flare_ray.report.statistics.bootstrap._CHUNK", 300 * 200)
    in_parts = paired_bootstrap(pairs, resamples=2000)
    assert (in_parts.low, in_parts.high) == pytest.approx((whole.low, whole.high), abs=0.25)


def test_translations_of_an_instance_are_drawn_together() -> None:
    """Three copies of one language are no more evidence than one; three test sets of their own are."""
    [pair] = simulated(languages=1)
    copies = [replace(pair, language=f"copy {k}") for k in range(3)]
    apart = [replace(one, ids=tuple(f"{one.language} {name}" for name in one.ids)) for one in copies]
    alone = paired_bootstrap(pair, resamples=2000).standard_error
    assert paired_bootstrap(copies, resamples=2000).standard_error == pytest.approx(alone)
    influence = Panel.of(apart).influence()
    by_instance = influence.mean(0)
    one_language = Panel.of(pair).influence().mean(0)
    assert by_instance.var() / len(by_instance) == pytest.approx(one_language.var() / len(one_language) / 3)


def test_equal_rows_have_an_interval_of_nothing() -> None:
    got = paired_bootstrap(plain(np.ones((2, 5, 20))), resamples=100)
    assert (got.effect, got.low, got.high, got.p) == (0, 0, 0, 1)
