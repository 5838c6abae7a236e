"""Sign flips, Holm and stochastic order against scipy, hand-computed examples and their definitions."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from flare_ray.report.statistics import almost_stochastic_order, holm, permutation_test, violation_ratio


def blocks(languages: int, seeds: int, seed: int = 0, effect: float = 0.5) -> dict[tuple[str, int], float]:
    chance = np.random.default_rng(seed)
    return {(f"l{k}", s): chance.normal(effect) for k in range(languages) for s in range(1, seeds + 1)}


@pytest.mark.parametrize(("languages", "seeds"), [(1, 5), (2, 5), (3, 5)])
def test_the_exact_p_is_scipys(languages: int, seeds: int) -> None:
    given = blocks(languages, seeds)
    got = permutation_test(given)
    pair = (np.array(list(given.values())), np.zeros(len(given)))
    expected = stats.permutation_test(
        pair,
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert (got.exact, got.assignments) == (True, 2 ** (languages * seeds))
    assert got.p == pytest.approx(expected.pvalue)
    assert got.effect == pytest.approx(np.mean(pair[0]))


def test_above_16_units_assignments_are_drawn() -> None:
    given = blocks(1, 18, effect=0.3)
    got = permutation_test(given, resamples=50_000)
    totals = np.array(list(given.values()))
    signs = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1).astype(np.int8)
    exact = np.mean(np.abs(signs @ totals) >= abs(totals.sum()) - 1e-9)
    assert (got.exact, got.assignments) == (False, 50_000)
    assert got.p == pytest.approx(exact, abs=5 * (exact / 50_000) ** 0.5)
    clear = permutation_test({key: 1 + value / 100 for key, value in given.items()}, resamples=999)
    assert clear.p == pytest.approx(1 / 1000)
    assert clear.smallest_p == pytest.approx(1 / 1000)


def test_five_seeds_alone_can_reach_no_significance() -> None:
    clearest = permutation_test({("ace", seed): 10.0 for seed in range(5)})
    assert clearest.p == clearest.smallest_p == 0.0625
    assert permutation_test({("ace", seed): 10.0 for seed in range(6)}).p == 0.03125


def test_a_unit_is_flipped_as_one() -> None:
    given = blocks(3, 6)
    by_seed = {("all", s): sum(v for (_, seed), v in given.items() if seed == s) for s in range(1, 7)}
    assert permutation_test(given, unit="seed").p == permutation_test(by_seed).p
    assert permutation_test(given, unit="seed").effect == pytest.approx(permutation_test(given).effect)
    assert permutation_test(given, unit="language").units == 3


def test_signs_scale_and_order_do_not_change_p() -> None:
    given = blocks(3, 4)
    p = permutation_test(given).p
    assert permutation_test({key: -7 * value for key, value in given.items()}).p == p
    assert permutation_test(dict(reversed(given.items()))).p == p
    assert permutation_test(dict.fromkeys(given, 0.0)).p == 1
    with pytest.raises(ValueError, match="no blocks"):
        permutation_test({})


def test_holm_by_hand() -> None:
    """Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and no value below an earlier one."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"one": 0.04}) == {"one": 0.04}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    with pytest.raises(ValueError, match="no probabilities"):
        holm({"a": 1.2})


def test_holm_lies_between_p_and_bonferroni() -> None:
    p_values = dict(enumerate(np.random.default_rng(0).uniform(0, 0.2, 9)))
    for k, adjusted in holm(p_values).items():
        assert p_values[k] <= adjusted <= min(1, 9 * p_values[k])


@pytest.mark.parametrize(("n", "m"), [(5, 5), (5, 8), (7, 3)])
def test_the_violation_ratio_is_the_integral_of_its_definition(n: int, m: int) -> None:
    chance = np.random.default_rng(n * m)
    a, b = chance.normal(0.3, 1, n), chance.normal(0, 1, m)

    def quantile(scores: np.ndarray, t: float) -> float:
        return float(np.sort(scores)[min(len(scores) - 1, int(np.floor(t * len(scores))))])

    def integral(part: object) -> float:
        edges = sorted({k / n for k in range(n + 1)} | {k / m for k in range(m + 1)})
        pieces = [
            integrate.quad(lambda t: part(quantile(a, t) - quantile(b, t)) ** 2, low + 1e-12, high - 1e-12)[0]  # type: ignore[operator]
            for low, high in pairwise(edges)
        ]
        return sum(pieces)

    expected = integral(lambda gap: min(gap, 0)) / integral(lambda gap: gap)
    assert violation_ratio(a, b) == pytest.approx(expected, rel=1e-6)
    assert violation_ratio(b, a) == pytest.approx(1 - expected, rel=1e-6)


def test_the_order_of_clear_cases() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 12.0, 13.0, 14.0, 15.0]
    assert almost_stochastic_order(high, low) == 0
    assert almost_stochastic_order(low, high) == 1
    assert almost_stochastic_order(low, low) > 0.5
    assert almost_stochastic_order([3.0] * 5, [3.0] * 5) == 1
    with pytest.raises(ValueError, match="2 or more"):
        almost_stochastic_order([1.0], [2.0])


def test_epsilon_min_is_an_upper_bound_that_shifts_and_scales_leave_alone() -> None:
    a, b = np.random.default_rng(2).normal([[0.6], [0.0]], 1, (2, 10))
    bound = almost_stochastic_order(a, b)
    assert violation_ratio(a, b) < bound < almost_stochastic_order(a, b, confidence=0.99)
    assert almost_stochastic_order(3 * a + 40, 3 * b + 40) == pytest.approx(bound)
    assert almost_stochastic_order(a, b, confidence=0.5) == pytest.approx(violation_ratio(a, b))
