"""Laws of a search: its budget, what it shares, what a restart gives, that it finds more than chance."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution.racing import Race, rungs
from flare_ray.execution.sampling import points
from flare_ray.execution.search import Rules, Search
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.store import Store

MODEL = ModelSpec.model_construct(name="m", family="bert", checkpoint="org/m")
SPACE = {"fusion": ["add", "mul", "add_relu", "mul_relu", "cross_attention"], "rank": [4, 8, 16, 64]}


@dataclass(frozen=True)
class Planted:
    """A question whose answer is known: the nearer to the best configuration, the better, with noise by seed."""

    best: Mapping[str, Any]
    space: Mapping[str, Any] = field(default_factory=lambda: SPACE)
    noise: float = 1.0
    languages: tuple[str, ...] = ("sw", "te")
    label: str = "planted"
    fingerprint: str = "f" * 20

    def runs(self, config: Mapping[str, Any], seed: int) -> tuple[Run, ...]:
        base = Base(MODEL, "nusax", "sandbox", seed, {}, {"base": seed})
        axes = tuple(sorted(config.items()))
        return tuple(
            Run(
                Cell(MODEL, "nusax", language, "flare", axes),
                seed,
                base,
                {},
                {"config": dict(axes), "seed": seed, "language": language},
            )
            for language in self.languages
        )

    def value(self, run: Run) -> float:
        rng = random.Random(run.fingerprint)
        hits = sum(
            value == self.best[axis]
            if isinstance(self.space[axis], list)
            else 1 - abs(value - self.best[axis]) / (self.space[axis]["high"] - self.space[axis]["low"])
            for axis, value in run.cell.axes
        )
        return 60 + 10 * hits + rng.gauss(0, self.noise)


def drive(
    search: Search, question: Planted, rng: random.Random, executed: Counter[str], stop_after: int = 10**9
) -> None:
    """Executes what a search wants, in a random order."""
    waiting = search.wanted()
    while waiting:
        run = waiting.pop(rng.randrange(len(waiting)))
        if sum(executed.values()) >= stop_after:
            return
        executed[run.fingerprint] += 1
        search.settled(run, question.value(run))
        waiting += search.wanted()
    assert search.done, "it wants nothing, so it must be done"


def a_search(store: Store, question: Planted, **rules: Any) -> Search:
    wanted = {"configurations": 10, "seeds": (1, 2, 3, 4, 5)}
    return Search(question, Rules(**{**wanted, **rules}), store)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_budget_is_kept_and_nothing_is_asked_for_twice(tmp_path: Path, sampler: str, factor: int) -> None:
    question, executed = Planted({"fusion": "mul", "rank": 8}), Counter[str]()
    search = a_search(Store(str(tmp_path)), question, sampler=sampler, factor=factor)
    drive(search, question, random.Random(0), executed)
    assert len(search.race.candidates) == 10
    assert set(executed.values()) == {1}
    whole = 10 * 5 * 2
    assert len(executed) == whole if factor == 1 else len(executed) < 0.7 * whole
    assert search.selected() is not None


def test_a_space_smaller_than_the_budget_is_tried_whole(tmp_path: Path) -> None:
    question = Planted({"fusion": "mul"}, space={"fusion": ["add", "mul", "add_relu"]})
    search = a_search(Store(str(tmp_path)), question)
    drive(search, question, random.Random(0), Counter())
    assert {one.config["fusion"] for one in search.race.candidates} == {"add", "mul", "add_relu"}
    selected = search.selected()
    assert selected is not None
    assert selected[0] == {"fusion": "mul"}


@pytest.mark.parametrize("stop_after", [0, 1, 7, 20])
def test_a_search_that_was_killed_goes_on_with_the_same_configurations(
    tmp_path: Path, stop_after: int
) -> None:
    question, executed = Planted({"fusion": "mul", "rank": 8}), Counter[str]()
    first = a_search(Store(str(tmp_path)), question, parallel=2)
    drive(first, question, random.Random(0), executed, stop_after)
    before = [one.config for one in first.race.candidates]

    again = a_search(Store(str(tmp_path)), question, parallel=2)
    done = {
        run.fingerprint: run for one in before for seed in range(1, 6) for run in question.runs(one, seed)
    }
    for key in executed:
        again.settled(done[key], question.value(done[key]))
    drive(again, question, random.Random(1), executed)
    assert [one.config for one in again.race.candidates][: len(before)] == before
    assert len(again.race.candidates) == 10
    assert set(executed.values()) == {1}, "nothing that was finished is executed again"


def test_what_a_grid_has_finished_takes_part_and_costs_nothing(tmp_path: Path) -> None:
    question, executed = Planted({"fusion": "mul", "rank": 8}, noise=0.1), Counter[str]()
    best = {"fusion": "mul", "rank": 8}
    rules = Rules(3, (1, 2, 3))
    search = Search(question, rules, Store(str(tmp_path)), known=[best])
    for seed in rules.seeds:
        for run in question.runs(best, seed):
            search.settled(run, question.value(run))
    drive(search, question, random.Random(0), executed)
    selected = search.selected()
    assert selected is not None
    assert selected[0] == best
    assert len(search.race.candidates) == 4


def test_a_configuration_that_fails_is_out_and_the_search_goes_on(tmp_path: Path) -> None:
    question = Planted({"fusion": "mul", "rank": 8})
    search = a_search(Store(str(tmp_path)), question)
    waiting = search.wanted()
    while waiting:
        run = waiting.pop()
        broken = dict(run.cell.axes)["fusion"] == "mul"
        search.settled(run, None if broken else question.value(run))
        waiting += search.wanted()
    assert search.done
    selected = search.selected()
    assert selected is not None
    assert selected[0]["fusion"] != "mul"


@pytest.mark.parametrize("space", [SPACE, {"lr": {"low": 0.0, "high": 1.0}, "fusion": SPACE["fusion"]}])
def test_a_planted_best_is_found_more_often_than_at_random_with_the_same_budget(
    tmp_path: Path, space: dict[str, Any]
) -> None:
    found: Counter[str] = Counter()
    scores: dict[str, float] = {"tpe": 0.0, "random": 0.0}
    for trial in range(20):
        best = {
            axis: random.Random(trial).choice(v) if isinstance(v, list) else random.Random(trial).random()
            for axis, v in space.items()
        }
        question = Planted(best, space=space, noise=0.5, fingerprint=f"{trial:020}")
        for sampler in ("tpe", "random"):
            search = a_search(
                Store(str(tmp_path)),
                question,
                sampler=sampler,
                seed=trial,
                configurations=14,
                parallel=1,
                factor=1,
                seeds=(1,),
            )
            drive(search, question, random.Random(trial), Counter())
            config, _ = search.selected() or ({}, 0.0)
            found[sampler] += config["fusion"] == best["fusion"]
            scores[sampler] += sum(
                config[axis] == best[axis]
                if isinstance(space[axis], list)
                else 1 - abs(config[axis] - best[axis])
                for axis in space
            )
    assert scores["tpe"] > scores["random"]


def test_optunas_storage_is_a_view_of_the_search(tmp_path: Path) -> None:
    import optuna

    question = Planted({"fusion": "mul", "rank": 8})
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    for _ in range(2):  # the second start knows everything
        search = Search(question, Rules(4, (1, 2)), Store(str(tmp_path)), optuna_storage=storage)
        for config in points(SPACE) or []:
            for seed in (1, 2):
                for run in question.runs(config, seed):
                    search.settled(run, question.value(run))
        assert search.wanted() == []
        [study] = optuna.get_all_study_summaries(storage)
        loaded = optuna.load_study(study_name=study.study_name, storage=storage)
        complete = loaded.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        assert [trial.params for trial in complete] == [one.config for one in search.race.candidates]


@pytest.mark.parametrize(
    ("seeds", "factor", "wanted"), [(5, 2, [1, 2, 4, 5]), (3, 1, [3]), (1, 2, [1]), (9, 3, [1, 3, 9])]
)
def test_rungs(seeds: int, factor: int, wanted: list[int]) -> None:
    assert rungs(seeds, factor) == wanted


def test_one_in_two_goes_on_and_the_best_always_to_the_end() -> None:
    race = Race(4)
    for number, value in enumerate([5.0, 9.0, 7.0, 1.0]):
        race.enter({"n": number}).values.append(value)
    assert [one.number for one in race.promote(no_more=False)] == [1, 2]
    for number in (1, 2):
        race.candidates[number].values.append(8.0 - number)
    assert [one.number for one in race.promote(no_more=True)] == [1]
    race.candidates[1].values += [8.0, 8.0]
    assert race.best() is race.candidates[1]
    assert [race.stopped(one) for one in race.candidates] == [True, False, True, True]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("stop_after", [5, 7, 11])
def test_a_search_over_a_range_that_was_killed_comes_to_its_end(
    tmp_path: Path, sampler: str, stop_after: int
) -> None:
    """The sampler starts anew, and must not draw the same configurations again."""
    space = {"lr": {"low": 1e-5, "high": 1e-3, "log": True}}
    question = Planted({"lr": 1e-4}, space=space)
    rules = {"sampler": sampler, "configurations": 14, "seeds": (1,), "factor": 1, "parallel": 1}
    for _ in range(4):
        search = a_search(Store(str(tmp_path)), question, **rules)
        for one in search.race.candidates:  # what the store has
            for run in question.runs(one.config, 1):
                search.settled(run, question.value(run))
        executed = Counter[str]()
        drive(search, question, random.Random(0), executed, 2 * stop_after)
    assert search.done
    assert len(search.race.candidates) == 14
    assert len({one.config["lr"] for one in search.race.candidates}) == 14


def test_two_searches_of_one_name_have_views_of_their_own(tmp_path: Path) -> None:
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    searches = []
    for number in range(2):
        question = Planted({"fusion": "mul", "rank": 8}, fingerprint=str(number) * 20)
        store, rules = Store(str(tmp_path)), Rules(4, (1,), factor=1)
        searches.append((question, Search(question, rules, store, optuna_storage=storage)))
    for question, search in searches:
        drive(search, question, random.Random(0), Counter())
    assert [summary.n_trials for summary in optuna.get_all_study_summaries(storage)] == [4, 4]


def test_a_view_that_cannot_be_written_stops_no_search(tmp_path: Path) -> None:
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    question = Planted({"fusion": "mul", "rank": 8})
    search = Search(question, Rules(4, (1,), factor=1), Store(str(tmp_path)), optuna_storage=storage)
    (tmp_path / "optuna.db").write_bytes(b"no database")
    drive(search, question, random.Random(0), Counter())
    assert search.selected() is not None
