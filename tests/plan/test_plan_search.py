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
        ({"method": "flare", "space": {"rank": [True]}}, "searches[0].space.rank"),
        ({"method": "flare", "space": {"alpha": [float("inf")]}}, "searches[0].space.alpha"),
        ({"method": "flare", "space": {"epochs": ["3"]}}, "searches[0].space.epochs"),
        ({"method": "flare", "space": {"epochs": {"low": 1, "high": 3.0}}}, "searches[0].space.epochs"),
        ({"method": "flare", "space": {"rank": {"low": 4.0, "high": 8}}}, "searches[0].space.rank"),
        ({"method": "flare", "space": {"rank": {"low": True, "high": 8}}}, "searches[0].space.rank.low"),
        ({"method": "x_mixup", "space": {"block": {"low": 1, "high": 3.5}}}, "searches[0].space.block"),
        ({"method": "flare", "space": {}}, "searches[0].space"),
        ({"method": "flare", "space": SPACE, "models": []}, "searches[0].models"),
        ({"method": "flare", "space": SPACE, "tasks": []}, "searches[0].tasks"),
        ({"method": "flare", "space": SPACE, "tasks": ["nusax", "nusax"]}, "searches[0].tasks"),
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


BOTH = {"train_only": [True, False], "test_source": ["gold", "translation"]}


@pytest.mark.parametrize(
    ("space", "axes"),
    [(BOTH, {}), ({"test_source": BOTH["test_source"]}, {"train_only": [True, False]})],
)
def test_options_that_contradict_each_other_are_told_once(
    sweep_with: Callable[..., Any], space: dict[str, Any], axes: dict[str, Any]
) -> None:
    with pytest.raises(InputError) as error:
        sweep_with({"method": "flare", "space": space}, axes=axes, methods=[])
    [problem] = error.value.problems
    assert problem.where == "searches[0].space"
    assert "train_only=True" in problem.found
    assert "test_source=gold" in problem.found
    assert "train_only reads no source at test" in problem.wanted
    fits = {"test_source": BOTH["test_source"]}
    assert questions(sweep_with({"method": "flare", "space": fits}, axes={"train_only": [False, True]}))


def test_where_a_task_has_no_language_nothing_is_asked(
    sweep_with: Callable[..., Any], tmp_path: Path
) -> None:
    section = {"method": "lora", "space": {"rank": [4, 8]}, "over": "languages"}
    data = {"nusax": str(tmp_path / "data"), "xnli": "sandbox"}
    sweep = sweep_with(section, tasks=["nusax", "xnli"], languages=["ace"], data=data)
    assert [(one.task, one.languages) for one in questions(sweep)] == [("nusax", ("ace",))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"configurations": 3},
        {"models": ["tiny"]},
        {"tasks": ["nusax"]},
        {"sampler": "random", "other": {"baseline": True}},
    ],
)
def test_one_search_in_two_sections_is_told(sweep_with: Callable[..., Any], changes: dict[str, Any]) -> None:
    section = {"method": "flare", "space": SPACE}
    other = section | changes.pop("other", {})
    with pytest.raises(InputError) as error:
        sweep_with(other, section | changes)
    [problem] = error.value.problems
    assert problem.where == "searches[1]"
    assert "searches[0]" in problem.found


@pytest.mark.parametrize("changes", [{"sampler": "random"}, {"seeds": 1}, {"over": "languages"}])
def test_sections_that_ask_something_else_stand_side_by_side(
    sweep_with: Callable[..., Any], changes: dict[str, Any]
) -> None:
    section = {"method": "flare", "space": SPACE}
    assert questions(sweep_with(section, section | changes))
