"""`limit` and `smoke`: in every fingerprint when they are set, in none when they are not, and a name of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.limits import limit_options
from flare_ray.plan.schema import Sweep
from flare_ray.plan.wire import base_from_dict, base_to_dict, run_from_dict, run_to_dict

Load = Callable[..., Sweep]
Fields = dict[str, Any]


def fingerprints(grid: Grid) -> set[str]:
    return {work.fingerprint for work in (*grid.runs, *grid.bases, *grid.corpora)}


def test_each_limit_has_fingerprints_of_its_own_and_none_changes_none(load: Load) -> None:
    grids = [expand(load(*limit_options([], limit, False))) for limit in (None, 8, 9)]
    assert [len(fingerprints(grid)) for grid in grids] == [len(fingerprints(grids[0]))] * 3
    assert not fingerprints(grids[0]) & fingerprints(grids[1])
    assert not fingerprints(grids[1]) & fingerprints(grids[2])
    assert fingerprints(expand(load("limit=null", "smoke=false"))) == fingerprints(grids[0])
    assert all("limit" not in run.settings and "max_steps" not in run.settings for run in grids[0].runs)


def test_translated_splits_are_limited_too(load: Load) -> None:
    names = [
        {corpus.fingerprint for corpus in expand(load(*more, translation="nllb-200-3.3b")).corpora}
        for more in ([], ["limit=8"])
    ]
    assert len(names[0]) == len(names[1]) > 0
    assert not names[0] & names[1]


def test_a_limit_reaches_the_worker_of_a_run_with_and_without_training(load: Load) -> None:
    for run in expand(load("limit=8")).runs:
        base = base_from_dict(base_to_dict(run.base))
        assert base.settings["limit"] == 8
        assert run_from_dict(run_to_dict(run), base).settings["limit"] == 8


def test_a_smoke_test_is_every_cell_once_for_two_steps_on_eight_rows(load: Load) -> None:
    search = {"method": "lora", "space": {"rank": [2, 16, 32]}}
    changes: Fields = {
        "searches": [search],
        "training": {"epochs": 3, "max_steps": 50},
        "overrides": [{"model": "tiny", "training": {"max_steps": 70}}],
    }
    sweep, whole = load("smoke=true", **changes), load(**changes)
    grid = expand(sweep)
    assert [cell.label for cell in grid.cells] == [cell.label for cell in expand(whole).cells]
    assert len(grid.runs) == len(grid.cells)
    assert {run.settings["limit"] for run in grid.runs} == {8}
    assert {run.settings["max_steps"] for run in grid.runs if "epochs" in run.settings} == {2}
    assert {base.settings["max_steps"] for base in grid.bases} == {2}
    assert (sweep.searches[0].configurations, sweep.searches[0].seeds) == (2, 1)


def test_axes_of_steps_give_way_to_a_smoke_test(load: Load) -> None:
    grid = expand(load("smoke=true", axes={"max_steps": [10, 20]}))
    assert {run.settings["max_steps"] for run in grid.runs if "epochs" in run.settings} == {2}


def test_limited_sweeps_have_names_of_their_own(load: Load) -> None:
    names = [load(*more).name for more in ([], ["limit=8"], ["smoke=true"], ["limit=9", "smoke=true"])]
    assert names == ["small", "small-limit8", "small-smoke", "small-smoke"]
    long = "x" * 200
    assert load("smoke=true", name=long).name == "x" * 194 + "-smoke"


@pytest.mark.parametrize("wrong", ["0", "-1", "eight", "1.5", "true", "[8]"])
def test_what_is_no_number_of_rows_is_refused_at_its_place(load: Load, wrong: str) -> None:
    with pytest.raises(InputError) as caught:
        load(f"limit={wrong}")
    assert [problem.where for problem in caught.value.problems] == ["limit"]


def test_options_stand_for_fields() -> None:
    assert limit_options(None, None, False) == []
    assert limit_options(["rank=[4]"], 8, True) == ["rank=[4]", "limit=8", "smoke=true"]
