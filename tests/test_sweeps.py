"""The sweeps that are shipped: each loads and plans, with as many runs as its head says, shared as its head says."""

from functools import cache
from pathlib import Path

import pytest

from flare_ray.errors import InputError
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.search import questions

SWEEPS = Path(__file__).parents[1] / "sweeps"
SHIPPED = sorted(file.stem for file in SWEEPS.glob("*.yaml"))
LANGUAGES = 14 + 8 + 10  # XNLI, TyDiQA, NusaX
QA_AND_SENTIMENT = 8 + 10
FUSING, TRAINED, UNTRAINED = (
    2,
    3,
    2,
)  # methods: flare and flare_mt; lora, x_mixup and input_fusion; the others
TABLE_1 = 4 * LANGUAGES * (UNTRAINED + TRAINED + FUSING) * 5

RUNS = {
    "table1": TABLE_1,
    "full": 4 * LANGUAGES * (UNTRAINED + TRAINED * 3 + FUSING * 3 * 5) * 5,
    "table2": QA_AND_SENTIMENT * 4 * 5,
    "table3": QA_AND_SENTIMENT * 2 * 3 * 5,
    "table4": 4 * (14 + 10) * 2 * 2 * 5,
    "figure3": QA_AND_SENTIMENT * (2 + 1) * 5,
    "figures4-6": 10 * 5,
    "appendix_e": 10 * 2 * 5,
    "search_fusion": 0,
    "demo_full": 4 * 3 * 5 * 7,
    "claims": 5 * 5 * 5,
}
BASES = {"table1": 4 * 3 * 5, "full": 4 * 3 * 5, "table2": 10, "table3": 10, "table4": 40, "figures4-6": 5}
SHARED = {  # with Table 1
    "full": TABLE_1,
    "table2": QA_AND_SENTIMENT * 5,
    "table3": QA_AND_SENTIMENT * 2 * 5,
    "table4": 4 * (14 + 10) * 2 * 5,
    "figure3": QA_AND_SENTIMENT * 2 * 5,
    "figures4-6": 10 * 5,
    "appendix_e": 10 * 5,
}


@cache
def grid(name: str) -> Grid:
    return expand(load_sweep(SWEEPS / f"{name}.yaml"))


def prints(name: str) -> set[str]:
    return {run.fingerprint for run in grid(name).runs}


def problems_but_of_ones_own(name: str) -> list[str]:
    """What is wrong with a sweep but for data and checkpoints that need not be here."""
    try:
        grid(name)
    except InputError as error:
        return [str(one) for one in error.problems if not one.where.startswith(("data.", "models["))]
    return []


@pytest.mark.parametrize("name", SHIPPED)
def test_it_loads_and_plans_without_a_network(name: str) -> None:
    if name.startswith(("nusax_cpu", "real_")):
        assert not problems_but_of_ones_own(name)
        return
    made = grid(name)
    assert len({run.label for run in made.runs}) == len(made.runs) == len(prints(name))
    assert load_sweep(SWEEPS / f"{name}.yaml").name == name


@pytest.mark.parametrize("name", RUNS)
def test_it_has_as_many_runs_as_counted_by_hand(name: str) -> None:
    assert len(grid(name).runs) == RUNS[name]
    head = (SWEEPS / f"{name}.yaml").read_text()
    assert name in ("search_fusion", "demo_full", "claims") or f"{RUNS[name]:,} runs" in head.replace(
        "\n# ", " "
    )


@pytest.mark.parametrize("name", BASES)
def test_it_has_as_many_base_models_as_counted_by_hand(name: str) -> None:
    assert len(grid(name).bases) == BASES[name]


def test_the_whole_study_in_numbers() -> None:
    full = grid("full")
    assert len(full.cells) == 4 * LANGUAGES * 41 == 5248
    assert len(full.corpora) == LANGUAGES * 3
    trained = [run for run in grid("table1").runs if run.cell.method not in ("zero_shot", "translate_test")]
    assert len(trained) == 3200


@pytest.mark.parametrize("name", SHARED)
def test_runs_of_table_1_are_shared(name: str) -> None:
    assert len(prints(name) & prints("table1")) == SHARED[name]
    assert {base.fingerprint for base in grid(name).bases} <= {
        base.fingerprint for base in grid("table1").bases
    }


@pytest.mark.parametrize("name", ["table1", "table3", "figures4-6"])
def test_the_full_study_contains(name: str) -> None:
    assert prints(name) <= prints("full")


def test_table_2_is_in_the_full_study() -> None:
    assert prints("table2") < prints("full")


def test_the_search_is_one_for_each_language_and_knows_the_tables_runs() -> None:
    sweep = load_sweep(SWEEPS / "search_fusion.yaml")
    asked = questions(sweep)
    assert len(asked) == QA_AND_SENTIMENT
    for question in asked:
        (run,) = question.runs({"fusion": "mul", "rank": 64, "learning_rate": 2e-4}, 1)
        assert run.fingerprint in prints("table2")
