"""Laws of searches in a plan: what a question asks are runs of the grid's own kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.search import questions
from tests.small_study import write_study, write_sweep

SPACE = {"fusion": ["add_relu", "mul"], "rank": [4, 8]}


@pytest.fixture
def sweep_with(tmp_path: Path) -> Callable[..., Any]:
    fields = write_study(tmp_path)

    def load(*searches: dict[str, Any], **rest: Any) -> Any:
        whole = {**fields, "searches": list(searches), **rest}
        return load_sweep(write_sweep(tmp_path / "sweep.yaml", whole))

    return load


def test_a_configuration_of_the_grid_is_the_grids_run(sweep_with: Callable[..., Any]) -> None:
    sweep = sweep_with({"method": "flare", "space": SPACE})
    grid = {run.fingerprint: run for run in expand(sweep).runs}
    one, other = questions(sweep)
    assert (one.languages, other.languages) == (("ace",), ("jav",))
    for question in (one, other):
        for fusion in SPACE["fusion"]:
            for rank in SPACE["rank"]:
                [run] = question.runs({"fusion": fusion, "rank": rank}, 1)
                assert grid[run.fingerprint].label == run.label


def test_an_axis_that_begins_with_null_is_the_grids(sweep_with: Callable[..., Any]) -> None:
    axes = {"learning_rate": [None, 5e-4], "alpha": [None]}
    search = {"method": "lora", "space": {"rank": [4, 8]}}
    sweep = sweep_with(search, axes=axes, alpha=3, methods=["lora"])
    grid = {run.fingerprint for run in expand(sweep).runs}
    for question in questions(sweep):
        (run,) = question.runs({"rank": 4}, 1)
        assert run.fingerprint in grid


def test_over_languages_one_search_has_runs_in_each(sweep_with: Callable[..., Any]) -> None:
    [question] = questions(sweep_with({"method": "lora", "space": {"rank": [4, 8]}, "over": "languages"}))
    assert [run.cell.language for run in question.runs({"rank": 4}, 2)] == ["ace", "jav"]


def test_hyperparameters_and_options_are_axes_like_others(sweep_with: Callable[..., Any]) -> None:
    space = {
        "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "source_offset": [0, 1],
        "alpha": [1, 2],
    }
    question = questions(sweep_with({"method": "flare", "space": space}, methods=[]))[0]
    config = {"learning_rate": 3e-4, "source_offset": 0, "alpha": 1}
    [run] = question.runs(config, 1)
    assert {axis: run.settings[axis] for axis in config} == config
    assert (run.settings["rank"], run.settings["fusion"]) == (4, "add_relu"), "the sweep's first values"
    [other] = question.runs({**config, "source_offset": 1}, 1)
    assert run.fingerprint != other.fingerprint
    assert run.label != other.label


def test_a_question_is_known_by_its_space_and_its_runs(sweep_with: Callable[..., Any]) -> None:
    def known(section: dict[str, Any], **rest: Any) -> str:
        return questions(sweep_with({"method": "flare", "space": SPACE, **section}, **rest))[0].fingerprint

    same = known({})
    assert known({"configurations": 3, "parallel": 1}) == same, "a larger budget goes on with what was tried"
    assert known({}, resources={"pack_size": 3}) == same
    assert known({"seeds": 1}) != same
    assert known({"space": {"fusion": ["add", "mul"]}}) != same
    assert known({}, training={"learning_rate": 1e-3}) != same


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({"method": "flare", "space": {"fusion": ["ad_relu"]}}, "searches[0].space.fusion"),
        ({"method": "lora", "space": {"fusion": ["add"]}}, "searches[0].space"),
        ({"method": "flare", "space": {"lr": [1]}}, "searches[0].space"),
        ({"method": "flare", "space": {"rank": [0]}}, "searches[0].space.rank"),
        ({"method": "flare", "space": {"learning_rate": [-1]}}, "searches[0].space.learning_rate"),
        ({"method": "flare", "space": {"source_offset": [7]}}, "searches[0].space.source_offset"),
        ({"method": "zero_shot", "space": {"rank": [4]}}, "searches[0].space"),
        ({"method": "flare", "space": SPACE, "models": ["tny"]}, "searches[0].models"),
        ({"method": "flare", "space": SPACE, "seeds": 9}, "searches[0].seeds"),
        ({"method": "flare", "space": {}}, "searches[0].space"),
        ({"method": "flare", "space": {"dropout": {"low": 1, "high": 0}}}, "searches[0].space.dropout"),
    ],
)
def test_what_is_wrong_is_named(sweep_with: Callable[..., Any], section: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as error:
        sweep_with(section)
    assert any(problem.where.startswith(where) for problem in error.value.problems), error.value


def test_no_methods_need_a_search(sweep_with: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="or a search"):
        sweep_with(methods=[])
