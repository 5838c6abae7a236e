"""Laws of the searcher: what a worker group that is done goes on with, and that its room is counted once."""

from typing import Any

import pytest

from flare_ray.execution.capacity import Capacity
from flare_ray.execution.searcher import StageSearcher
from flare_ray.plan.schema import Resources
from tests.execution.test_board import World, base_of


class Desk:
    """What was answered, by question."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}

    def __call__(self, question: str, answer: Any) -> None:
        assert question not in self.answers, "asked once, answered once"
        self.answers[question] = answer


def searcher_of(world: World, cluster: float, resources_of: Any = None) -> tuple[StageSearcher, Desk]:
    desk, common = Desk(), Resources(cpus_per_worker=1)
    capacity = Capacity({"CPU": cluster}, resources_of or (lambda model, task: common), common)
    return StageSearcher(world.board, capacity, {"storage": "s"}, desk), desk


def execute(world: World, searcher: StageSearcher, trial: str) -> str:
    stage = searcher._stages[trial]
    assert world.work(stage) is None
    return stage.key


def test_one_trial_carries_a_whole_sweep_out() -> None:
    world = World(bases=3, runs=5, pack_size=2)
    searcher, desk = searcher_of(world, cluster=1)
    config = searcher.suggest("t1")
    assert config["stage"]["kind"] == "pack"
    assert searcher.suggest("t2") is None, "there is room for one"
    while True:
        key = execute(world, searcher, "t1")
        searcher.next("t1")
        following = desk.answers[f"next/{key}"]
        if following is None:
            break
        assert searcher.key("t1") == following["key"]
    assert world.settled == {(run.fingerprint, True): 1 for run in world.runs}
    assert searcher.suggest("t2") == "FINISHED"
    searcher.ended("t1", None)
    assert searcher.capacity.running == 0
    assert not any(searcher.capacity.used.values())


def test_a_death_takes_the_stage_that_the_group_was_at() -> None:
    world = World(bases=1, runs=6, pack_size=2)
    searcher, _ = searcher_of(world, cluster=1)
    searcher.suggest("t1")
    execute(world, searcher, "t1")
    searcher.next("t1")
    second = searcher.key("t1")
    searcher.ended("t1", "the node is gone")
    assert second not in world.board.running
    assert searcher.capacity.running == 0
    assert searcher.suggest("t2")["stage"]["runs"], "what it had not done is there to be done"


def test_a_group_ends_when_the_most_urgent_stage_wants_other_resources() -> None:
    world = World(bases=2, runs=3, pack_size=3)
    small, large = Resources(), Resources(workers=2)
    wants = {base_of(0).fingerprint: small, base_of(1).fingerprint: large}
    searcher, desk = searcher_of(world, cluster=2)
    searcher.capacity.resources = lambda work: wants[work.fingerprint]  # type: ignore[method-assign,index]
    seen = []
    for trial in ("t1", "t2", "t3", "t4"):
        config = searcher.suggest(trial)
        if config == "FINISHED":
            break
        seen.append(config["resources"]["workers"])
        while True:
            key = execute(world, searcher, trial)
            searcher.next(trial)
            following = desk.answers[f"next/{key}"]
            if following is None:
                break
            assert wants[searcher._stages[trial].needs.fingerprint].workers == seen[-1]  # type: ignore[union-attr]
        searcher.ended(trial, None)
    assert sorted(set(seen)) == [1, 2]
    assert world.board.done
    assert not any(searcher.capacity.used.values())


@pytest.mark.parametrize("stopping", [False, True])
def test_nothing_more_is_given_out_when_the_sweep_stops(stopping: bool) -> None:
    world = World(bases=1, runs=6, pack_size=2)
    searcher, desk = searcher_of(world, cluster=1)
    searcher.suggest("t1")
    key = execute(world, searcher, "t1")
    world.board.stopping = stopping
    searcher.next("t1")
    assert (desk.answers[f"next/{key}"] is None) == stopping


def test_only_watched_runs_report_their_validations() -> None:
    world = World(bases=1, runs=2, pack_size=2)
    searcher, _ = searcher_of(world, cluster=1)
    searcher.watched = {world.runs[0].fingerprint}
    runs = searcher.suggest("t1")["stage"]["runs"]
    assert runs[0]["watched"]
    assert not any(run["watched"] for run in runs[1:])


def test_what_waits_for_nodes_is_spoken_of_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    world = World(bases=2, runs=2, pack_size=2)
    searcher, _ = searcher_of(world, cluster=2)
    said = []
    for minutes in range(120):
        searcher.suggest(f"t{minutes}")
        said += [(minutes, record.getMessage()) for record in caplog.records]
        caplog.clear()
        world.now += 60
    assert [minute for minute, _ in said] == [10, 20, 40, 80]
    assert said[0][1] == "2 stages wait for nodes, one since 10 minutes; it needs 1 CPU"
    searcher.board.starts.works(searcher.key("t0"))
    searcher.board.starts.works(searcher.key("t1"))
    searcher.suggest("t120")
    assert not caplog.records
