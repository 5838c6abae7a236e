"""Laws of the board, on simulated executions: whatever dies when, every run ends exactly once."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from flare_ray.execution.board import Board, Stage
from flare_ray.execution.retries import Failure, Retries
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.plan.stages import Pack, Translating

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
        self.stored: set[str] = set()
        self.reasons: dict[str, Failure] = {}
        self.executed: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.poison: dict[str, str] = {}
        self.settled: Counter[tuple[str, bool]] = Counter()
        self.now = 0.0
        self.board = Board(
            self,
            pack_size=pack_size,
            clock=lambda: self.now,
            on_settled=lambda run, finished: self.settled.update([(run.fingerprint, finished)]),
            **rest,
        )
        self.board.add(self.runs, self.bases, map(Translating, self.corpora))

    def done(self, work: Run | Base | Corpus) -> bool:
        return work.fingerprint in self.stored

    def failure(self, work: Run | Base | Corpus) -> Failure | None:
        return self.reasons.get(work.fingerprint)

    def progress(self, work: Run | Base | Corpus) -> int:
        return self.steps[work.fingerprint]

    def failed(self, work: Run | Base | Corpus, failure: Failure) -> None:
        assert work.fingerprint not in self.reasons, "said once"
        self.reasons[work.fingerprint] = failure

    def forget(self, work: Run | Base | Corpus) -> None:
        del self.reasons[work.fingerprint]

    def work(self, stage: Stage) -> str | None:
        """Executes a stage; the error when its worker died, which poisonous work does to it."""
        self.board.starts.works(stage.key)
        if isinstance(stage.work, Base):
            return self._one(stage.work)
        if isinstance(stage.work, Translating):
            left = [corpus for corpus in stage.work.corpora if corpus.fingerprint not in self.stored]
            return next(filter(None, map(self._one, left)), None)
        if stage.first and stage.first.fingerprint not in self.stored and (error := self._one(stage.first)):
            return error
        assert stage.work.base.fingerprint in self.stored, "a pack starts on a stored base"
        for run in stage.work.runs:
            needed = {corpus.fingerprint for corpus in run.corpora}
            assert needed <= self.stored, "a run finds its translations"
            if run.fingerprint not in self.stored and (error := self._one(run)):
                return error
        return None

    def _one(self, work: Base | Run | Corpus) -> str | None:
        self.executed[work.fingerprint] += 1
        kind = self.poison.get(work.fingerprint)
        if kind == "killed":
            return "the worker was killed"
        if kind is not None:  # the worker lives and writes it down
            self.reasons[work.fingerprint] = Failure(kind, kind)
            return None if isinstance(work, Run) else kind
        self.stored.add(work.fingerprint)
        return None

    def drive(self, seed: int, slots: int) -> None:
        """Runs the board to its end, stages ending in a random order."""
        rng = random.Random(seed)
        running: list[Stage] = []
        while not self.board.done:
            while len(running) < slots and (stage := self.board.start()):
                running.append(stage)
            if running:
                stage = running.pop(rng.randrange(len(running)))
                self.board.finish(stage.key, self.work(stage))
            else:
                assert self.board.waiting.later, (
                    "the board is not done, so something must run or wait for its time"
                )
            self.now += 1

    def poisoned(self, works: Any, kind: str = "killed") -> set[str]:
        """Makes work fail; its fingerprints."""
        self.poison |= {work.fingerprint: kind for work in works}
        return {work.fingerprint for work in works}


def started(world: World, count: int) -> list[Stage]:
    return [stage for _ in range(count) if (stage := world.board.start())]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("pack_size", [3, 7])
@pytest.mark.parametrize("translated", [False, True])
def test_everything_is_executed_exactly_once(seed: int, slots: int, pack_size: int, translated: bool) -> None:
    world = World(bases=3, runs=7, pack_size=pack_size, translated=translated, slots=slots)
    world.drive(seed, slots)
    assert set(world.executed.values()) == {1}
    corpora = [corpus for group in world.corpora for corpus in group]
    assert world.stored == {work.fingerprint for work in [*world.bases, *world.runs, *corpora]}
    assert world.settled == {(run.fingerprint, True): 1 for run in world.runs}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pack_size", [2, 5])
def test_a_translation_that_fails_fails_its_runs_and_only_them(seed: int, pack_size: int) -> None:
    world = World(bases=2, runs=5, pack_size=pack_size, translated=True, retries=Retries(max_attempts=2))
    bad = world.corpora[2][1]
    world.poisoned([bad])
    world.drive(seed, slots=2)
    mine = {run.fingerprint for run in world.runs if bad in run.corpora}
    assert set(world.reasons) == mine | {bad.fingerprint}
    assert all("its translation failed" in world.reasons[fingerprint].error for fingerprint in mine)
    assert world.executed[bad.fingerprint] == 2
    assert {run.fingerprint for run in world.runs} - mine <= world.stored


def test_base_models_train_while_texts_are_translated() -> None:
    world = World(bases=1, runs=2, pack_size=2, translated=True)
    assert {type(stage.work) for stage in started(world, 3)} == {Translating, Base}
    assert world.board.start() is None, "the pack waits for its translations"


def test_a_run_starts_when_its_own_splits_are_there_beside_translations_that_go_on() -> None:
    world = World(bases=1, runs=2, pack_size=2, translated=True)
    [base] = [stage for stage in started(world, 3) if isinstance(stage.work, Base)]
    world.board.finish(base.key, world.work(base))
    for corpus in world.corpora[0]:
        world.stored.add(corpus.fingerprint)
        world.board.translated(corpus.fingerprint)
    [stage] = started(world, 2)
    assert isinstance(stage.work, Pack)
    assert stage.work.runs == (world.runs[0],)


def test_no_base_is_trained_when_no_run_is_left_that_needs_it() -> None:
    world = World(bases=1, runs=1, pack_size=1, translated=True, retries=Retries(max_attempts=1))
    bad = world.poisoned(world.corpora[0])
    stages = started(world, 1)
    assert isinstance(stages[0].work, Translating)
    world.board.finish(stages[0].key, world.work(stages[0]))
    world.drive(0, slots=1)
    assert world.executed.keys() <= bad


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pack_size", [4, 6])
def test_a_run_that_kills_its_worker_takes_no_other_with_it(seed: int, pack_size: int) -> None:
    world = World(bases=2, runs=6, pack_size=pack_size, retries=Retries(max_attempts=2))
    bad = world.poisoned([world.runs[1], world.runs[9]])
    world.drive(seed, slots=2)
    assert set(world.reasons) == bad
    assert {world.executed[fingerprint] for fingerprint in bad} == {2}, "tried again once, then given up"
    good = {run.fingerprint for run in world.runs} - bad
    assert good <= world.stored
    assert {world.executed[fingerprint] for fingerprint in good} == {1}, "nothing is trained twice"


@pytest.mark.parametrize("pack_size", [2, 3])
@pytest.mark.parametrize("kind", ["killed", "bug", "io"])
def test_a_base_that_fails_fails_its_runs_and_only_them(pack_size: int, kind: str) -> None:
    world = World(bases=2, runs=3, pack_size=pack_size)
    bad = world.poisoned(world.bases[:1], kind)
    world.drive(0, slots=2)
    mine = {run.fingerprint for run in world.runs if run.base is world.bases[0]}
    assert set(world.reasons) == mine | bad
    assert all("its base model failed" in world.reasons[fingerprint].error for fingerprint in mine)
    assert not mine & world.executed.keys()
    assert world.settled == {(run.fingerprint, run.fingerprint not in mine): 1 for run in world.runs}


@pytest.mark.parametrize(
    ("kind", "times"), [("bug", 1), ("diverged", 1), ("input", 1), ("memory", 2), ("io", 4)]
)
def test_what_a_worker_wrote_down_is_tried_again_by_its_kind(kind: str, times: int) -> None:
    world = World(bases=1, runs=3, pack_size=3)
    [bad] = world.poisoned(world.runs[1:2], kind)
    world.drive(0, slots=1)
    assert world.executed[bad] == times
    assert world.reasons == {bad: Failure(kind, kind)}
    assert {run.fingerprint for run in world.runs} - {bad} <= world.stored


def test_a_later_attempt_after_an_io_failure_waits_longer_each_time() -> None:
    world = World(bases=1, runs=1, pack_size=1, retries=Retries(max_attempts=3, delay=15))
    world.poisoned(world.runs, "io")
    starts = []
    while not world.board.done:
        if stage := world.board.start():
            starts.append(world.now)
            world.board.finish(stage.key, world.work(stage))
        world.now += 1
    assert [b - a for a, b in pairwise(starts)] == [15, 30, 60]


def test_a_run_that_gets_further_each_time_is_not_given_up() -> None:
    """A long run on nodes that are taken away: its checkpoints move on."""
    world = World(bases=1, runs=1, pack_size=1, retries=Retries(max_attempts=2))
    [lost] = world.poisoned(world.runs)
    for _ in range(9):
        [stage] = started(world, 1)
        world.steps[lost] += 100
        world.board.finish(stage.key, world.work(stage))
    world.poison.clear()
    world.drive(0, slots=1)
    assert world.stored >= {lost}
    assert not world.reasons


def test_a_run_whose_checkpoint_was_of_another_version_gets_further_from_the_start() -> None:
    """What is left of the old checkpoint is no measure of what comes after it."""
    world = World(bases=1, runs=1, pack_size=1, retries=Retries(max_attempts=2))
    [lost] = world.poisoned(world.runs)
    for steps in (900, 100, 200, 300):
        [stage] = started(world, 1)
        world.steps[lost] = steps
        world.board.finish(stage.key, world.work(stage))
    assert not world.reasons


@pytest.mark.parametrize("seed", range(5))
def test_asked_to_stop_it_starts_nothing_and_blames_nobody(seed: int) -> None:
    world = World(bases=2, runs=6, pack_size=3, slots=2)
    running = started(world, 2)
    world.board.stopping = True
    assert world.board.start() is None
    assert not world.board.done
    for stage in running:  # their workers leave without a word
        world.board.finish(stage.key, None)
    assert world.board.done
    assert not world.reasons
    assert world.board.left == len(world.runs)
    world.board.stopping = False
    world.drive(seed, slots=2)
    assert world.settled == {(run.fingerprint, True): 1 for run in world.runs}


def test_a_base_starts_with_runs_of_its_own_and_the_others_start_when_it_is_stored() -> None:
    world = World(bases=1, runs=4, pack_size=2, slots=2)
    [stage] = started(world, 2)
    assert (stage.first, stage.work) == (world.bases[0], Pack(world.bases[0], tuple(world.runs[:1])))
    world.stored.add(world.bases[0].fingerprint)
    world.board.base_stored(world.bases[0].fingerprint)
    [other] = started(world, 1)
    assert other.first is None
    assert other.work == Pack(world.bases[0], (world.runs[1],))


def test_the_base_that_most_runs_wait_for_starts_first() -> None:
    world = World(bases=2, runs=2, pack_size=8)
    world.board.add([run_of(world.bases[1], 100 + k) for k in range(5)])
    [first] = started(world, 1)
    assert first.first is world.bases[1]


def test_packs_get_smaller_towards_the_end() -> None:
    world = World(bases=1, runs=64, pack_size=32, slots=4)
    world.stored.add(world.bases[0].fingerprint)
    world.board.base_stored(world.bases[0].fingerprint)
    sizes = []
    while stage := world.board.start():
        assert isinstance(stage.work, Pack)
        sizes.append(len(stage.work.runs))
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (8, 1)


def test_nothing_is_left_for_a_worker_group_of_its_own_that_takes_less_than_its_start() -> None:
    world = World(bases=1, runs=9, pack_size=32, slots=1, start_seconds=6)
    [stage] = started(world, 1)
    assert isinstance(stage.work, Pack)
    assert len(stage.work.runs) == 9


def test_runs_added_later_wait_for_what_is_still_made_and_fail_with_what_has_failed() -> None:
    """As a search adds them."""
    world = World(bases=1, runs=2, pack_size=2, translated=True, retries=Retries(max_attempts=1))
    world.poisoned(world.corpora[0][:1])
    world.drive(0, slots=1)
    late = [run_of(world.bases[0], 50 + k, world.corpora[k]) for k in (0, 1)]
    world.board.add(late)
    world.drive(0, slots=1)
    assert "its translation failed" in world.reasons[late[0].fingerprint].error
    assert late[1].fingerprint in world.stored


def test_a_stage_that_waits_for_its_worker_group_is_seen() -> None:
    world = World(bases=2, runs=2, pack_size=8)
    assert world.board.starts.longest() == 0.0
    one, other = started(world, 2)
    world.now = 50.0
    assert world.board.starts.longest() == 50.0
    world.board.starts.works(one.key)
    world.now = 60.0
    assert world.board.starts.longest() == 60.0
    world.board.finish(other.key, "killed")
    assert world.board.starts.longest() == 0.0


def test_only_what_fits_is_started() -> None:
    world = World(bases=2, runs=2, pack_size=8)
    assert world.board.start(fits=lambda needs: False) is None
    stage = world.board.start(fits=lambda needs: needs is world.bases[1])
    assert stage is not None
    assert stage.first is world.bases[1]


@pytest.mark.parametrize("error", ["the actor died at its start", None])
@pytest.mark.parametrize("translated", [False, True])
def test_a_group_that_never_began_charges_nobody(error: str | None, translated: bool) -> None:
    """As when its node goes while it starts, or it cannot reach the driver: longer waits, and then its turn."""
    world = World(bases=1, runs=3, pack_size=3, translated=translated, retries=Retries(max_attempts=1))
    starts = []
    while len(starts) < 4:
        if stage := world.board.start():
            starts.append(world.now)
            world.board.finish(stage.key, error)
        world.now += 1
    assert not world.reasons
    if not translated:
        assert [b - a for a, b in pairwise(starts)] == [5, 10, 20]
    world.drive(0, slots=1)
    assert world.settled == {(run.fingerprint, True): 1 for run in world.runs}


def test_when_no_group_begins_any_more_the_sweep_ends_and_says_why() -> None:
    world = World(bases=2, runs=3, pack_size=3)
    for _ in range(10_000):
        if world.board.done:
            break
        if stage := world.board.start():
            world.board.finish(stage.key, "no such image")
        world.now += 1
    assert world.board.done
    assert {failure.error for failure in world.reasons.values()} >= {"no such image"}
    assert world.settled == {(run.fingerprint, False): 1 for run in world.runs}
