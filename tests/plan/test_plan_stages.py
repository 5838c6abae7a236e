import random
from collections import Counter

import pytest

from flare_ray.plan.grid import Base, Cell, Grid, Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.plan.stages import Stages, stages

MODELS = [ModelSpec(name=name, family="bert", checkpoint=f"org/{name}") for name in ("one", "two")]


def a_grid(languages: int = 5) -> Grid:
    """Two models × 5 languages × 2 methods × 3 seeds: six base models of ten runs each."""
    bases = {
        (model.name, seed): Base(model, "nusax", "org/data", seed, {}, {"base": model.name, "seed": seed})
        for model in MODELS
        for seed in (1, 2, 3)
    }
    runs = []
    for model in MODELS:
        for number in range(languages):
            for method in ("lora", "flare"):
                cell = Cell(model, "nusax", f"l{number}", method, (("rank", 8),))
                for seed in (1, 2, 3):
                    base = bases[model.name, seed]
                    runs.append(Run(cell, seed, base, {}, {"cell": cell.label, "seed": seed}))
    return Grid(tuple(runs), ())


def check(made: Stages, grid: Grid, finished: set[str], stored: set[str], pack_size: int) -> None:
    """The laws of the stage graph."""
    todo = Counter(run.fingerprint for pack in made.packs for run in pack.runs)
    assert set(todo) == {run.fingerprint for run in grid.runs} - finished
    assert set(todo.values()) <= {1}
    assert [run.fingerprint for run in made.todo] == list(todo)
    assert {run.fingerprint for run in made.done} == {run.fingerprint for run in grid.runs} & finished
    for pack in made.packs:
        assert 1 <= len(pack.runs) <= pack_size
        assert {run.base.fingerprint for run in pack.runs} == {pack.base.fingerprint}
    needed = {pack.base.fingerprint for pack in made.packs}
    assert sorted(base.fingerprint for base in made.bases) == sorted(needed - stored)


@pytest.mark.parametrize("pack_size", [1, 2, 3, 7, 10, 11, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_every_unfinished_run_is_in_exactly_one_pack_of_its_base(pack_size: int, share: float) -> None:
    grid, chance = a_grid(), random.Random(f"{pack_size} {share}")
    finished = {run.fingerprint for run in grid.runs if chance.random() < share} | {"of another sweep"}
    stored = {base.fingerprint for base in grid.bases if chance.random() < 0.5} | {"of another sweep"}
    made = stages(grid, finished, stored, pack_size)
    check(made, grid, finished, stored, pack_size)
    assert made.bases_done == len(stored) - 1


@pytest.mark.parametrize("pack_size", [3, 4, 6, 9])
def test_packs_of_a_base_are_as_few_and_as_equal_as_can_be(pack_size: int) -> None:
    made = stages(a_grid(), set(), set(), pack_size)
    per_base: dict[str, list[int]] = {}
    for pack in made.packs:
        per_base.setdefault(pack.base.fingerprint, []).append(len(pack.runs))
    for sizes in per_base.values():
        assert len(sizes) == -(-10 // pack_size)
        assert max(sizes) - min(sizes) <= 1


def test_nothing_is_left_when_all_runs_are_finished_even_without_stored_bases() -> None:
    grid = a_grid()
    made = stages(grid, {run.fingerprint for run in grid.runs}, set(), 4)
    assert (made.bases, made.packs, made.todo, made.bases_done) == ((), (), [], 0)
    assert len(made.done) == 60


def test_only_the_bases_that_an_unfinished_run_needs_are_made() -> None:
    grid = a_grid()
    last = grid.runs[-1]
    made = stages(grid, {run.fingerprint for run in grid.runs} - {last.fingerprint}, set(), 4)
    assert [base.fingerprint for base in made.bases] == [last.base.fingerprint]
    assert made.todo == [last]


def test_packing_changes_no_run() -> None:
    grid = a_grid()
    single = stages(grid, set(), set(), 1)
    packed = stages(grid, set(), set(), 8)
    assert {run.fingerprint for run in single.todo} == {run.fingerprint for run in packed.todo}
    assert len(single.packs) == 60
