"""Laws of stopping runs within their training: who goes on, what it saves, that nobody else's run is touched."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution.board import Board, Stage
from flare_ray.execution.pruning import Pruner, best_at, training_share
from flare_ray.execution.retries import Failure
from flare_ray.execution.sampling import points
from flare_ray.execution.searching import Asked, Searches, answers
from flare_ray.plan.grid import Base, Cell, Grid, Run
from flare_ray.plan.sections import Search as Section
from flare_ray.plan.stages import Stages, stages
from flare_ray.store import Store
from tests.execution.test_search import MODEL, SPACE, Planted

SHARES = (0.25, 0.5, 0.75, 1.0)


def test_a_rung_counts_the_best_up_to_the_first_validation_behind_it() -> None:
    curve = [(0.2, 3.0), (0.4, 1.0), (0.6, 2.0), (1.0, 9.0)]
    assert [best_at(curve, rung) for rung in (0.1, 0.25, 0.6, 1.0)] == [3.0, 3.0, 3.0, 9.0]
    assert best_at(curve[:1], 0.25) is None


@pytest.mark.parametrize("factor", [2, 3])
def test_one_in_so_many_goes_on_and_the_best_always(factor: int) -> None:
    rng = random.Random(factor)
    for _ in range(50):
        count = rng.randrange(2 * factor, 30)
        values = {f"run{number}": rng.random() for number in range(count)}
        pruner = Pruner((0.5,), factor)
        verdicts = {name: pruner.hopeless("sw/1", name, [(0.5, value)]) for name, value in values.items()}
        assert not any(list(verdicts.values())[: 2 * factor - 1]), "of a few nothing can be said"
        assert not verdicts[max(values, key=values.__getitem__)]
        last = {name: pruner.hopeless("sw/1", name, [(0.5, value)]) for name, value in values.items()}
        assert sum(not verdict for verdict in last.values()) == -(-count // factor)
        assert not pruner.hopeless("sw/2", "run0", [(0.5, 0.0)]), "another seed is another contest"


def test_equal_runs_go_on() -> None:
    pruner = Pruner((0.5,), 2)
    assert not any(pruner.hopeless("sw/1", f"run{number}", [(0.5, 16.7)]) for number in range(9))


@dataclass(frozen=True)
class Asking(Planted):
    """A planted question with a section of a sweep file."""

    section: Any = None
    seeds: tuple[int, ...] = (1, 2)

    def curve(self, run: Run) -> list[tuple[float, float]]:
        """Validations of a training that gets to its value evenly."""
        return [(share, share * self.value(run)) for share in SHARES]


class World:
    """Two places, a store that is real, and trainings that report four validations."""

    def __init__(self, store: Store, asked: Sequence[Asked], planned: Sequence[Run] = ()):
        self.store, self.trained = store, Counter[str]()
        self.value_of = {one.question.fingerprint: one.question for one in asked}
        self.question: Any = asked[0].question
        self.runs: dict[str, Run] = {run.fingerprint: run for run in planned}
        self.searches = Searches(
            asked,
            store,
            [run.fingerprint for run in planned],
            self.plan,
            lambda record: (record["value"], record["curve"]),
            lambda run: False,
        )
        first = self.plan(planned)
        self.board = Board.of(first, self, slots=2, pack_size=3)
        self.searches.attach(self.board, first, lambda more: None)
        self.dropped: set[str] = set()

    def plan(self, runs: Sequence[Run]) -> Stages:
        self.runs |= {run.fingerprint: run for run in runs}
        stored = {run.base.fingerprint for run in runs}
        return stages(Grid(tuple(runs), ()), self.store.finished("runs"), stored, 3)

    def done(self, work: Any) -> bool:
        return isinstance(work, Base) or self.store.has("runs", work.fingerprint)

    def failure(self, work: Any) -> Failure | None:
        return None

    def progress(self, work: Any) -> int:
        return 0

    def failed(self, work: Any, failure: Failure) -> None:
        raise AssertionError(f"{work.label}: {failure}")

    def forget(self, work: Any) -> None:
        raise AssertionError("nothing fails here")

    def drive(self, seed: int = 0, most: int = 10**9) -> None:
        """Two places train in turns of a quarter each, until the end or so many quarters are trained."""
        rng, places = random.Random(seed), dict[str, Any]()
        while not self.board.done:
            while len(places) < 2 and (stage := self.board.start()):
                places[stage.key] = self.stage(stage)
            key = rng.choice(list(places))
            if next(places[key], None) is None:
                del places[key]
                self.board.finish(key)
            if self.trained.total() >= most:
                return

    def stage(self, stage: Stage) -> Any:
        assert not isinstance(stage.work, Base)
        self.board.starts.works(stage.key)
        for run in stage.work.runs:
            curve = self.question.curve(run)
            for share, value in curve:
                self.trained[run.fingerprint] += 1
                if run.fingerprint in self.searches.watched:
                    told = self.searches.validated(run, share, value)
                    self.dropped |= {f"{key}/{gone.fingerprint}" for key, gone in told}
                yield share
                if f"{stage.key}/{run.fingerprint}" in self.dropped:
                    break
            else:
                self.store.write("runs", run.fingerprint, {"value": curve[-1][1], "curve": curve})


def asked(rungs: Sequence[float] = (0.25, 0.5), configurations: int = 14) -> Asked:
    section = Section(
        method="flare", space=SPACE, configurations=configurations, rungs=list(rungs), parallel=3
    )
    question: Any = Asking({"fusion": "mul", "rank": 8}, noise=0.5, section=section, languages=("sw",))
    return Asked(question, "tpe", (1, 2))


def test_training_is_saved_and_the_answer_stays(tmp_path: Path) -> None:
    quarters: dict[int, int] = {}
    for rungs in ((), (0.25, 0.5)):
        world = World(Store(str(tmp_path / str(len(rungs)))), [asked(rungs=rungs, configurations=20)])
        world.drive()
        assert world.board.left == 0
        assert bool(world.dropped) == bool(rungs)
        quarters[len(rungs)] = world.trained.total()
        selected = world.searches._searches[0][1].selected()
        assert selected is not None
        assert selected[0] == {"fusion": "mul", "rank": 8}
    assert quarters[2] < 0.85 * quarters[0]


def test_what_is_dropped_stays_so_after_a_restart(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = World(store, [asked()])
    first.drive(most=30)
    gone = {name.partition("/")[2] for name in first.dropped}
    assert gone
    again = World(store, [asked()])
    again.drive()
    assert again.board.left == 0
    assert not gone & again.trained.keys()
    finished = store.finished("runs")
    assert not gone & finished
    configs = [one.config for one in again.searches._searches[0][1].race.candidates]
    assert len(configs) == 14
    before = [one.config for one in first.searches._searches[0][1].race.candidates]
    assert configs[: len(before)] == before


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_someone_else_wants_goes_on(tmp_path: Path, seed: int) -> None:
    """The grid's runs come to their end, whatever a search thinks of them."""
    one = asked()
    worst: Any = [config for config in points(SPACE) or [] if config["fusion"] == "add"][:2]
    planned = [run for config in worst for s in (1, 2) for run in one.question.runs(config, s)]
    world = World(Store(str(tmp_path)), [one], planned)
    world.drive(seed)
    assert world.board.left == 0
    assert {run.fingerprint for run in planned} <= world.store.finished("runs")


def test_a_dropped_run_that_is_wanted_again_comes_back(tmp_path: Path) -> None:
    one = asked()
    (run,) = one.question.runs({"fusion": "add", "rank": 4}, 1)
    world = World(Store(str(tmp_path)), [one])
    board = Board.of(world.plan([run]), world)
    settled: list[tuple[str, bool]] = []
    board.on_settled = lambda run, finished: settled.append((run.fingerprint, finished))
    stage = board.start()
    assert stage is not None
    board.starts.works(stage.key)
    assert board.drop(run) == stage.key
    board.add([run])
    board.finish(stage.key)
    assert not settled, "wanted again while its worker was still at it"
    following = board.start()
    assert following is not None
    assert getattr(following.work, "runs", ()) == (run,)
    board.starts.works(following.key)
    assert board.drop(run) == following.key
    board.finish(following.key)
    assert settled == [(run.fingerprint, False)]
    assert board.done


@pytest.mark.parametrize("seed", range(4))
def test_what_one_search_dropped_is_no_failure_for_another(tmp_path: Path, seed: int) -> None:
    tpe = asked(configurations=12)
    chance = Asked(tpe.question, "random", tpe.seeds)
    world = World(Store(str(tmp_path)), [tpe, chance])
    world.drive(seed)
    assert world.board.left == 0
    assert world.dropped
    for one, search in world.searches._searches:
        assert search.done
        assert not search.failed(), one.sampler
        assert len(search.race.candidates) == 12
        assert all(entry.dropped is not None or entry.values for entry in search.race.candidates)


def test_a_run_that_another_driver_finished_meanwhile_is_taken_as_it_is(tmp_path: Path) -> None:
    one = asked()
    world = World(Store(str(tmp_path)), [one])
    plan = world.searches.plan

    def late(runs: Sequence[Run]) -> Stages:
        for run in runs:
            if not world.store.has("runs", run.fingerprint):
                curve = world.question.curve(run)
                world.store.write("runs", run.fingerprint, {"value": curve[-1][1], "curve": curve})
        return plan(runs)

    world.searches.plan = late
    world.drive()
    assert world.searches._searches[0][1].done
    assert answers([one], world.store)


def test_an_answer_on_other_terms_is_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    World(store, [asked()]).drive()
    assert answers([asked()], store)
    assert not answers([asked(configurations=18)], store)
    more = World(store, [asked(configurations=18)])
    more.drive()
    [(_, facts)] = answers([asked(configurations=18)], store)
    assert facts["configurations"] == 18
    assert more.trained.total() < 18 * 2 * len(SHARES) / 2, "what was tried is not trained again"


def test_a_run_that_trains_nothing_has_no_value_for_a_search(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    base = Base(MODEL, "nusax", "sandbox", 1, {}, {"base": 1})
    run = Run(Cell(MODEL, "nusax", "sw", "zero_shot"), 1, base, {}, {"untrained": True})
    world = World(store, [asked(configurations=2)], [run])
    store.write("runs", run.fingerprint, {"metrics": {"macro_f1": 50.0}, "history": [], "validation": {}})
    world.searches._settled(run, True)
    assert world.searches.watched.isdisjoint({run.fingerprint})


@pytest.mark.parametrize(
    ("settings", "share"), [({"epochs": 20}, 0.1), ({"epochs": 20, "max_steps": 8}, 0.5), ({"epochs": 2}, 1)]
)
def test_a_share_of_a_training_is_of_the_bound_that_ends_it(settings: dict[str, int], share: float) -> None:
    assert training_share({"step": 4, "epoch": 2.0}, settings) == share
