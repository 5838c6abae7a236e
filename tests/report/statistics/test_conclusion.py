"""What is concluded: verdicts, families, what is told of missing seeds; error rates and power on simulated sweeps."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.error_rates import GAINS, WORLDS, World, familywise, order_errors, rates
from flare_ray.report.statistics import Paired, Verdict, conclude
from flare_ray.report.statistics.metrics import Means


def simulated(seed: int = 3, **changes: object) -> list[Paired]:
    return World(**changes).family(np.random.default_rng(seed))["first - 1"]  # type: ignore[arg-type]


def concluded(pairs: list[Paired], **more: list[Paired]) -> object:
    return conclude({"it": pairs, **more}, resamples=500)["it"]


def within(rate: float, level: float, sweeps: int) -> bool:
    """Whether a rate over so many sweeps may be the level's, one-sided, but for once in 1,000."""
    return rate * sweeps <= stats.binom.ppf(0.999, sweeps, level)


def test_five_seeds_of_one_language_are_too_few_whatever_the_effect() -> None:
    got = concluded(simulated(languages=1, effect=5.0))
    assert (got.verdict, got.p, got.smallest_p) == (Verdict.TOO_FEW, 0.0625, 0.0625)
    assert got.interval.low > 5
    assert "too few to conclude" in str(got)
    assert concluded(simulated(languages=1, seeds=6, effect=5.0)).verdict == Verdict.BETTER


def test_one_seed_is_too_few_in_any_number_of_languages() -> None:
    got = concluded(simulated(languages=8, seeds=1, effect=5.0))
    assert (got.verdict, got.aso, got.interval.covers_seeds) == (Verdict.TOO_FEW, None, False)
    assert "over test instances alone" in str(got)


def test_a_family_can_be_too_large_for_so_few_blocks() -> None:
    """Six blocks allow p = 0.031: enough alone and beside what is clear, not beside another doubt."""
    six = simulated(languages=1, seeds=6, effect=5.0)
    doubtful = simulated(languages=3)
    clear = simulated(effect=5.0)
    assert concluded(six, clear=clear).verdict == Verdict.BETTER
    assert concluded(six, doubtful=doubtful).verdict == Verdict.TOO_FEW


def test_better_worse_and_no_difference_shown() -> None:
    pairs = simulated(effect=1.0)
    swapped = [pair.swapped() for pair in pairs]
    better, worse = (conclude({"it": one}, resamples=500)["it"] for one in (pairs, swapped))
    assert (better.verdict, worse.verdict) == (Verdict.BETTER, Verdict.WORSE)
    assert (worse.effect, worse.p) == pytest.approx((-better.effect, better.p))
    assert better.aso < 0.1
    assert worse.aso > 0.9
    nothing = concluded(simulated())
    assert nothing.verdict == Verdict.NO_DIFFERENCE
    assert nothing.interval.low < 0 < nothing.interval.high


def test_equal_rows_show_no_difference() -> None:
    scores = Means(np.zeros((2, 5, 10)))
    pairs = [Paired("t", k, (1, 2, 3, 4, 5), tuple("abcdefghij"), scores) for k in ("ace", "jav")]
    got = concluded(pairs)
    assert (got.verdict, got.effect, got.p, got.aso) == (Verdict.NO_DIFFERENCE, 0, 1, 1)


def test_seeds_that_a_language_lacks_are_left_out_everywhere_and_told() -> None:
    pairs = simulated(effect=1.0)
    lacking = replace(
        pairs[1], seeds=(1, 2, 3, 4), scores=pairs[1].scores.select(np.arange(4), np.arange(200))
    )
    lacking = replace(lacking, unpaired_seeds=(5,), unpaired_instances=3)
    got = concluded([pairs[0], lacking, pairs[2]])
    assert got.seeds == (1, 2, 3, 4)
    assert got.left_out == dict.fromkeys(("task/language 0", "task/language 1", "task/language 2"), (5,))
    assert got.test.units == 12
    assert str(got).endswith("(not in every row and language: 1 seed; 3 instances not in all runs)")


def test_the_text_has_effect_interval_p_and_sizes() -> None:
    text = str(concluded(simulated(effect=1.0)))
    assert text.startswith("+")
    for part in (" points [+", "], p ", "(Holm ", "5 seeds, 3 languages, 200 instances: better"):
        assert part in text


NULL = WORLDS["no difference"]


def test_what_is_not_there_is_shown_no_more_often_than_the_level() -> None:
    sweeps = 200
    for world in (NULL, replace(NULL, macro=True, instances=100)):
        found = Counter(rates(world, sweeps, 300))
        assert all(within(found[name], 0.05, sweeps) for name in ("interval", "flip blocks", "verdict")), (
            found
        )


def test_the_interval_holds_where_flipping_single_blocks_does_not() -> None:
    sweeps = 150
    for name in ("a row has its own luck with a seed", "a row has its own instances"):
        found = rates(WORLDS[name], sweeps, 300)
        assert within(found["interval"], 0.05, sweeps)
        assert within(found["verdict"], 0.05, sweeps)
        assert found["flip blocks"] > 0.1


def test_holm_keeps_the_chance_of_any_wrong_verdict() -> None:
    assert within(familywise(NULL, 4, 100, 300), 0.05, 100)


def test_a_planted_effect_is_found() -> None:
    found = rates(GAINS["0.6 logits"], 60, 300)
    assert found["verdict"] > 0.8
    assert found["interval"] >= found["verdict"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WORLDS if "languages" not in name])
def test_error_rates_at_length(name: str) -> None:
    sweeps = 1000
    found = rates(WORLDS[name], sweeps, 500, seed=1)
    assert within(found["interval"], 0.06, sweeps)
    assert within(found["verdict"], 0.05, sweeps)


@pytest.mark.slow
def test_families_at_length() -> None:
    for name in ("no difference", "a row has its own instances"):
        assert within(familywise(WORLDS[name], 5, 400, 500, seed=1), 0.05, 400)


@pytest.mark.slow
def test_stochastic_order_errs_too_often_with_few_runs() -> None:
    """Why nothing is decided by it."""
    assert order_errors(5, 1000)[0] > 0.05
    assert order_errors(5, 1000)[1] > order_errors(20, 1000)[1]
