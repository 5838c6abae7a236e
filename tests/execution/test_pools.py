"""Laws of pools of translators: what they get is reserved, and worker groups beside them find room."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from flare_ray.execution.capacity import Capacity
from flare_ray.execution.driver import Execution
from flare_ray.execution.searcher import StageSearcher
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import Pack, Translating
from tests.execution.test_board import World, base_of, corpora_of

BASE = base_of(0)
A, B = (Translating(corpora_of(k)) for k in range(2))


def capacity_of(cluster: dict[str, float], **resources: Any) -> Capacity:
    common = Resources(**resources)
    return Capacity(cluster, lambda model, task: common, common)


def test_a_pool_gets_what_is_free_but_room_for_a_worker_group() -> None:
    capacity = capacity_of({"CPU": 8, "GPU": 4}, workers=2, gpus_per_worker=1, gpus_per_translator=0.5)
    capacity.take(A)
    assert capacity.grow(A, 100, [BASE]) == 4
    assert capacity.fits(BASE)
    capacity.take(BASE)
    capacity.take(B) if capacity.fits(B) else None
    assert B not in capacity.pools
    capacity.give(A)
    capacity.take(B)
    assert capacity.grow(B, 100, []) == 4
    assert capacity.grow(B, 3, []) == 3, "it gives back what it has no work for"


def test_a_pool_has_one_translator_at_least_and_no_more_than_the_sweep_says() -> None:
    capacity = capacity_of({"CPU": 1})
    capacity.take(A)
    assert capacity.grow(A, 100, [BASE]) == 1
    capacity = capacity_of({"CPU": 64}, translators=3)
    capacity.take(A)
    assert capacity.grow(A, 100, [BASE]) == 3


def test_no_room_is_left_for_what_may_not_start() -> None:
    capacity = capacity_of({"CPU": 4}, max_concurrent=1)
    capacity.take(A)
    assert capacity.grow(A, 100, [BASE]) == 4


@pytest.mark.parametrize("seed", range(20))
def test_what_is_reserved_never_exceeds_the_cluster_and_is_given_back(seed: int) -> None:
    rng = random.Random(seed)
    needs = {"workers": rng.randint(1, 3), "cpus_per_worker": rng.randint(1, 2)}
    capacity = capacity_of({"CPU": 8}, cpus_per_translator=rng.choice([0.5, 1, 2]), **needs)
    waiting: list[Any] = [Translating(corpora_of(k)) for k in range(6)] + [base_of(k) for k in range(6)]
    running: list[Any] = []
    while waiting or running:
        work = rng.choice(waiting + running)
        if work in waiting and capacity.fits(work):
            waiting.remove(work)
            running.append(work)
            capacity.take(work)
        elif work in running and isinstance(work, Translating) and rng.random() < 0.5:
            beside = rng.sample(waiting, min(len(waiting), 2))
            capacity.grow(work, rng.randint(1, 9), beside)
        elif work in running:
            running.remove(work)
            capacity.give(work)
        assert all(amount <= 8 + 1e-6 for amount in capacity.used.values())
    assert not any(capacity.used.values())


class Sweep:
    """A searcher over two languages' runs of one stored base model, on one machine."""

    def __init__(self, cpus: float):
        self.world = World(bases=1, runs=2, pack_size=4, translated=True)
        self.world.stored.add(BASE.fingerprint)
        self.world.board.base_stored(BASE.fingerprint)
        self.answers: dict[str, int] = {}
        self.searcher = StageSearcher(
            self.world.board, capacity_of({"CPU": cpus}), {}, self.answers.__setitem__
        )

    def ask(self, trial: str, wanted: int) -> int:
        self.searcher.board.starts.works(self.searcher.key(trial))
        self.searcher.pool(trial, trial, wanted)
        return self.answers[trial]

    def end(self, trial: str) -> None:
        stage = self.searcher._stages[trial]
        assert self.world.work(stage) is None
        self.searcher.ended(trial, None)


@pytest.mark.parametrize(("cpus", "first", "second"), [(8, 6, 1), (2, 1, 1)])
def test_a_language_that_is_there_is_trained_on_while_another_is_translated(
    cpus: float, first: int, second: int
) -> None:
    """The pack starts at once, and finds its CPUs: all pools together leave them."""
    sweep = Sweep(cpus)
    sweep.searcher.suggest("a")
    sweep.searcher.suggest("b")
    assert sweep.ask("a", 100) == first, "and room for what the other language's runs need"
    assert sweep.ask("b", 100) == second
    sweep.end("a")
    assert sweep.searcher.suggest("pack")["stage"]["kind"] == "pack"
    assert sweep.searcher.capacity.used["CPU"] <= cpus
    sweep.end("pack")
    assert sweep.ask("b", 100) == cpus, "nothing else can start before it is done"
    sweep.end("b")
    assert sweep.searcher.suggest("pack")["stage"]["kind"] == "pack"


def test_a_language_alone_has_the_whole_machine() -> None:
    sweep = Sweep(8)
    sweep.searcher.suggest("a")
    for work in list(sweep.world.board.waiting.translations):
        sweep.world.stored.update(corpus.fingerprint for corpus in work.corpora)
        sweep.world.board.waiting.translations.remove(work)
    assert sweep.ask("a", 100) == 8


def test_a_pack_that_waits_while_texts_are_translated_is_not_stuck() -> None:
    sweep = Sweep(8)
    execution = Execution.__new__(Execution)
    execution._attempt = SimpleNamespace(board=sweep.world.board)  # type: ignore[assignment]
    sweep.searcher.suggest("a")
    sweep.world.now += 10_000
    assert execution.stuck(), "the translation itself never began"
    sweep.searcher.suggest("b")
    sweep.ask("a", 100)
    sweep.ask("b", 100)
    sweep.end("a")
    stage = sweep.searcher.suggest("pack")["stage"]
    assert isinstance(sweep.world.board.running[stage["key"]].work, Pack)
    sweep.world.now += 10_000
    assert not execution.stuck()
    sweep.end("b")
    assert not execution.stuck(), "only now is there room for sure"
    sweep.world.now += 10_000
    assert execution.stuck()
