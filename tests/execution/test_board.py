"""Laws of the board, on simulated executions: whatever dies when, every run ends exactly once."""

import random
from collections import Counter
from typing import Any

import pytest

from flare_ray.execution.board import Board, Stage
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.plan.stages import Pack, Translating, pack_runs

MODEL = ModelSpec.model_construct(name="m", family="bert", checkpoint="org/m")


def base_of(seed: int) -> Base:
    return Base(MODEL, "nusax", "sandbox", seed, {}, {"base": seed})


def corpora_of(k: int) -> tuple[Corpus, ...]:
    model = {"model": "nllb"}
    return tuple(
        Corpus("nusax", "sandbox", f"l{k}", split, model, {}, {"split": split, "k": k, "translator": model})
        for split in ("train", "test")
    )


def run_of(base: Base, k: int, corpora: tuple[Corpus, ...] = ()) -> Run:
    cell = Cell(MODEL, "nusax", f"l{k}", "lora")
    return Run(cell, base.seed, base, {}, {"base": base.fingerprint, "k": k}, corpora)


class World:
    """Stands for workers and the store: what is finished, what was written to have failed, what was executed."""

    def __init__(self, bases: int, runs: int, pack_size: int, translated: bool = False, **rest: Any):
        self.bases = [base_of(seed) for seed in range(bases)]
        self.corpora = [corpora_of(k) for k in range(runs if translated else 0)]
        self.runs = [
            run_of(base, k, self.corpora[k] if translated else ()) for base in self.bases for k in range(runs)
        ]
        packs = [
            pack
            for base in self.bases
            for pack in pack_runs([r for r in self.runs if r.base is base], pack_size)
        ]
        self.stored: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.executed: Counter[str] = Counter()
        self.poison: set[str] = set()
        self.board = Board(
            list(self.bases),
            packs,
            self,
            translations=list(map(Translating, self.corpora)),
            **rest,
        )

    def settled(self, work: Run | Base | Corpus) -> bool:
        return work.fingerprint in self.stored | self.reasons.keys()

    def reason(self, work: Run | Base | Corpus) -> str | None:
        return self.reasons.get(work.fingerprint)

    def failed(self, work: Run | Base | Corpus, error: str) -> None:
        self.reasons[work.fingerprint] = error

    def work(self, stage: Stage) -> str | None:
        """Executes a stage; the error when its worker died, which poisonous work does to it."""
        if isinstance(stage.work, Base):
            return self._one(stage.work)
        if isinstance(stage.work, Translating):
            left = [corpus for corpus in stage.work.corpora if corpus.fingerprint not in self.stored]
            return next(filter(None, map(self._one, left)), None)
        if stage.first and stage.first.fingerprint not in self.stored and (error := self._one(stage.first)):
            return error
        assert stage.work.base.fingerprint in self.stored, "a pack starts on a stored base"
        for run in stage.work.runs:
            assert {corpus.fingerprint for corpus in run.corpora} <= self.stored, (
                "a run finds its translations"
            )
            if run.fingerprint not in self.stored and (error := self._one(run)):
                return error
        return None

    def _one(self, work: Base | Run | Corpus) -> str | None:
        self.executed[work.fingerprint] += 1
        if work.fingerprint in self.poison:
            return "killed"
        self.stored.add(work.fingerprint)
        return None

    def drive(self, seed: int, slots: int) -> None:
        """Runs the board to its end, stages ending in a random order."""
        rng = random.Random(seed)
        running: list[Stage] = []
        while not self.board.done:
            while len(running) < slots and (stage := self.board.start()):
                running.append(stage)
            assert running, "the board is not done, so something must run"
            stage = running.pop(rng.randrange(len(running)))
            self.board.finish(stage.key, self.work(stage))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("pack_size", [3, 7])
@pytest.mark.parametrize("translated", [False, True])
def test_everything_is_executed_exactly_once(seed: int, slots: int, pack_size: int, translated: bool) -> None:
    world = World(bases=3, runs=7, pack_size=pack_size, translated=translated)
    world.drive(seed, slots)
    assert set(world.executed.values()) == {1}
    corpora = [corpus for group in world.corpora for corpus in group]
    assert world.stored == {work.fingerprint for work in [*world.bases, *world.runs, *corpora]}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pack_size", [2, 5])
def test_a_translation_that_fails_fails_its_runs_and_only_them(seed: int, pack_size: int) -> None:
    world = World(bases=2, runs=5, pack_size=pack_size, translated=True, max_attempts=2)
    bad = world.corpora[2][1]
    world.poison = {bad.fingerprint}
    world.drive(seed, slots=2)
    mine = {run.fingerprint for run in world.runs if bad in run.corpora}
    assert set(world.reasons) == mine | world.poison
    assert all("its translation failed" in world.reasons[fingerprint] for fingerprint in mine)
    assert world.executed[bad.fingerprint] == 2
    assert {run.fingerprint for run in world.runs} - mine <= world.stored


def test_base_models_train_while_texts_are_translated() -> None:
    world = World(bases=1, runs=2, pack_size=2, translated=True)
    kinds = [type(stage.work) for _ in range(3) if (stage := world.board.start())]
    assert kinds == [Translating, Translating, Base]
    assert world.board.start() is None, "the pack waits for its translations"


def test_no_base_is_trained_when_no_run_is_left_that_needs_it() -> None:
    world = World(bases=1, runs=1, pack_size=1, translated=True, max_attempts=1)
    world.poison = {corpus.fingerprint for corpus in world.corpora[0]}
    world.drive(0, slots=1)
    assert not world.executed.keys() - world.poison


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pack_size", [4, 6])
def test_a_run_that_kills_its_worker_takes_no_other_with_it(seed: int, pack_size: int) -> None:
    world = World(bases=2, runs=6, pack_size=pack_size, max_attempts=2)
    bad = {world.runs[1].fingerprint, world.runs[9].fingerprint}
    world.poison = set(bad)
    world.drive(seed, slots=2)
    assert set(world.reasons) == bad
    assert {world.executed[fingerprint] for fingerprint in bad} == {2}, "tried again once, then given up"
    good = {run.fingerprint for run in world.runs} - bad
    assert good <= world.stored
    assert {world.executed[fingerprint] for fingerprint in good} == {1}, "nothing is trained twice"


@pytest.mark.parametrize("pack_size", [2, 3])
def test_a_base_that_fails_fails_its_runs_and_only_them(pack_size: int) -> None:
    world = World(bases=2, runs=3, pack_size=pack_size)
    world.poison = {world.bases[0].fingerprint}
    world.drive(0, slots=2)
    mine = {run.fingerprint for run in world.runs if run.base is world.bases[0]}
    assert set(world.reasons) == mine | world.poison
    assert all("its base model failed" in world.reasons[fingerprint] for fingerprint in mine)
    assert not mine & world.executed.keys()


def test_a_base_whose_worker_wrote_down_why_is_not_tried_again() -> None:
    world = World(bases=1, runs=1, pack_size=1)
    world.poison = {world.bases[0].fingerprint}
    stage = world.board.start()
    assert stage is not None
    world.reasons[world.bases[0].fingerprint] = "no such file: train.csv"
    world.board.finish(stage.key, world.work(stage))
    assert world.board.done
    assert "no such file: train.csv" in world.reasons[world.runs[0].fingerprint]


def test_a_base_shares_a_stage_with_its_only_pack_and_with_no_other() -> None:
    world = World(bases=2, runs=4, pack_size=4)
    world.board.packs.append(Pack(world.bases[1], (run_of(world.bases[1], 100),)))
    stages = [stage for _ in range(2) if (stage := world.board.start())]
    assert [(stage.first, stage.work) for stage in stages] == [
        (None, world.bases[1]),
        (world.bases[0], Pack(world.bases[0], tuple(world.runs[:4]))),
    ]


def test_the_base_that_most_runs_wait_for_starts_first() -> None:
    world = World(bases=2, runs=2, pack_size=8)
    more = Pack(world.bases[1], tuple(run_of(world.bases[1], 100 + k) for k in range(5)))
    world.board.packs.append(more)
    first = world.board.start()
    assert first is not None
    assert first.work is world.bases[1]
