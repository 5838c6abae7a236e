"""Laws of translations' costs: finished splits measure, operations estimate, what is finished costs nothing more."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.cost import UNKNOWN, Costs, total
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Resources, Sweep
from flare_ray.plan.translation_cost import TranslationCosts
from flare_ray.store import Damaged

TABLE1 = Path(__file__).parents[2] / "sweeps" / "table1.yaml"
ON_A100 = Resources(gpus_per_worker=1, accelerator_type="A100")


@pytest.fixture(scope="module")
def study() -> tuple[Sweep, Grid]:
    sweep = load_sweep(TABLE1, ["models=[xlm-r-large]", "seeds=[1]"])
    return sweep, expand(sweep)


def split_of(grid: Grid, task: str, split: str, language: str) -> Corpus:
    return next(one for one in grid.corpora if (one.task, one.split, one.language) == (task, split, language))


def costs_of(records: Mapping[str, Any], grid: Grid, resources: Resources = ON_A100) -> TranslationCosts:
    finished = [corpus for corpus in grid.corpora if corpus.fingerprint in records]
    return TranslationCosts(resources, 1.0, finished, lambda kind, key: records[key])


def record(corpus: Corpus, rows: int, seconds: float) -> dict[str, Any]:
    facts = {"task": corpus.task, "split": corpus.split, "rows": rows}
    return {corpus.fingerprint: facts | {"cost": {"stage_seconds": seconds}}}


def test_an_estimate_is_the_operations_of_the_translator(study: tuple[Sweep, Grid]) -> None:
    """NLLB 3.3B, greedy: 2 × 3.343e9 operations a token, 500 rows of 45 tokens, 5% of an A100's 312 TFLOP/s."""
    cost = costs_of({}, study[1]).of(split_of(study[1], "nusax", "train", "ace"))
    assert cost.seconds == pytest.approx(500 * 45 * 2 * 3.343e9 / (0.05 * 312e12), rel=0.001)
    assert cost.basis == "operations, on 5% of 1 × A100 at 312 TFLOP/s"


def test_several_translators_take_less_time_and_as_many_hours(study: tuple[Sweep, Grid]) -> None:
    sweep, grid = study
    found = {}
    for count in (1, 4):
        pool = costs_of({}, grid, Resources(gpus_per_worker=1, translators=count))
        costs = Costs(sweep, grid, set(), set(), lambda *_: {}, pool)
        found[count] = (pool.of(grid.corpora[0]).seconds or 0.0, total(costs, grid.corpora).hours)
    assert found[1][0] == pytest.approx(4 * found[4][0])
    assert found[1][1] == pytest.approx(found[4][1])


def test_finished_splits_measure_those_of_their_direction(study: tuple[Sweep, Grid]) -> None:
    """Two splits of one language, made together in 100 s: (500 + 100) × 45 tokens of NusaX, 270 a second."""
    grid = study[1]
    records = record(split_of(grid, "nusax", "train", "ace"), 500, 100.0)
    records |= record(split_of(grid, "nusax", "validation", "ace"), 100, 100.0)
    costs = costs_of(records, grid)
    other = costs.of(split_of(grid, "nusax", "train", "jav"))
    assert other.seconds == pytest.approx(500 * 45 / 270)
    assert other.basis == "2 finished splits"
    longer = costs.of(next(one for one in grid.corpora if (one.task, one.split) == ("tydiqa", "train")))
    assert longer.seconds == pytest.approx(3696 * 220 / 270), "of another task: by its tokens"
    assert "operations" in costs.of(split_of(grid, "nusax", "test", "jav")).basis, (
        "into English: not measured"
    )


def test_rows_are_those_of_finished_splits_of_other_languages(study: tuple[Sweep, Grid]) -> None:
    grid = study[1]
    costs = costs_of(record(split_of(grid, "nusax", "train", "ace"), 50, 10.0), grid)
    assert costs.rows(split_of(grid, "nusax", "train", "jav")) == 50
    assert costs.rows(split_of(grid, "nusax", "validation", "jav")) == 100, "the hub's"


def test_few_records_are_read_and_damaged_ones_measure_nothing(study: tuple[Sweep, Grid]) -> None:
    read = []

    def reader(kind: str, key: str) -> dict[str, Any]:
        read.append(key)
        raise Damaged("not what was written")

    costs = TranslationCosts(ON_A100, 1.0, study[1].corpora, reader)
    assert all("operations" in costs.of(corpus).basis for corpus in study[1].corpora)
    assert 0 < len(read) <= 3 * 3 * 3  # languages × tasks × splits


def test_a_finished_split_costs_nothing_and_more_left_costs_more(study: tuple[Sweep, Grid]) -> None:
    sweep, grid = study
    costs = Costs(sweep, grid, set(), set(), lambda *_: {}, costs_of({}, grid))
    hours = [total(costs, grid.corpora[:count]).hours for count in range(len(grid.corpora) + 1)]
    assert hours[0] == 0.0
    assert hours == sorted(hours)
    assert hours[-1] == pytest.approx(
        sum(costs.of(one).seconds or 0.0 for one in grid.corpora) / 3600, rel=1e-9
    )


def test_a_translator_of_unknown_size_is_unknown(study: tuple[Sweep, Grid]) -> None:
    sweep = load_sweep(TABLE1, ["models=[xlm-r-large]", "tasks=[nusax]", "translation=org/an-nllb-of-ours"])
    grid = expand(sweep)
    assert costs_of({}, grid).of(grid.corpora[0]) == UNKNOWN
    costs = Costs(sweep, grid, set(), set(), lambda *_: {}, costs_of({}, grid))
    assert total(costs, grid.corpora).unknown == len(grid.corpora)


def test_the_sandbox_has_not_the_rows_of_the_hub(study: tuple[Sweep, Grid]) -> None:
    corpus = replace(study[1].corpora[0], data="sandbox")
    assert costs_of({}, study[1]).rows(corpus) is None
