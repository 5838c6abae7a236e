"""A storage that is gone says nothing about the work: no failure is written, no attempt is counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.execution.attempts import Attempts
from flare_ray.execution.desk import Errand
from flare_ray.execution.outcomes import Outcomes
from flare_ray.execution.retries import STORAGE, Failure, Retries, kind_of_death
from flare_ray.execution.worker import StageWorker
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Resources
from flare_ray.plan.wire import base_to_dict
from flare_ray.store import Store, open_store
from flare_ray.store.guard import OtherStore
from flare_ray.store.identity import identity
from flare_ray.training.engine import Group
from tests.execution.test_board import World, started
from tests.small_study import write_study, write_sweep

RECORD = {"cost": {"train_seconds": 1.0}, "metrics": {"macro_f1": 50.0}}
GONE = "… flare_ray.store.guard.OtherStore: node7 sees no store at /mnt/study (unmounted?) …"


class Reports:
    """What a worker reports, without a Ray."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    hold = tell


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "results"))


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return expand(load_sweep(write_sweep(tmp_path / "small.yaml", write_study(tmp_path))))


@pytest.fixture
def worker(store: Store, grid: Grid) -> StageWorker:
    config = {
        "storage": store.url,
        "store": identity(store.files),
        "provenance": {},
        "resources": Resources().model_dump(),
    }
    stage = {"kind": "base", "key": "base-1", "base": base_to_dict(grid.bases[0])}
    reports: Any = Reports()
    return StageWorker(config, stage, Group(), Errand(None), reports)


@pytest.fixture
def swap(store: Store, tmp_path: Path) -> Iterator[Callable[[], Callable[[], None]]]:
    """Puts an empty folder in the store's place; returns what puts the store back."""
    root, away = Path(store.root), tmp_path / "away"

    def do() -> Callable[[], None]:
        os.rename(root, away)
        root.mkdir()
        return back

    def back() -> None:
        assert not list(root.rglob("*")), "nothing is written beneath"
        root.rmdir()
        os.rename(away, root)

    yield do
    if away.exists():
        back()


@pytest.mark.parametrize("then", ["a record", "an error", "an error of a bug"])
def test_a_worker_writes_no_failure_of_a_storage_that_is_gone(
    then: str, worker: StageWorker, store: Store, swap: Callable[[], Callable[[], None]]
) -> None:
    """However the work itself ends: with something to keep, or with an error that the storage has caused."""
    base, back = worker.base, None

    def work(out: Path, keeper: Any) -> dict[str, Any]:
        nonlocal back
        back = swap()
        if then == "an error":
            raise FileNotFoundError("corpora/x")
        if then == "an error of a bug":
            raise TypeError("None")
        (out / "model.safetensors").write_bytes(b"x")
        return dict(RECORD)

    with pytest.raises(OtherStore, match="sees no store"):
        worker._guarded(base, "bases", work)
    assert back is not None
    back()
    assert store.names("failures") == []
    assert not store.has("bases", base.fingerprint)
    assert worker.reports.events == []  # type: ignore[attr-defined]

    def again(out: Path, keeper: Any) -> dict[str, Any]:
        return dict(RECORD)

    assert worker._guarded(base, "bases", again) is None
    assert store.has("bases", base.fingerprint)


def test_a_worker_does_not_train_again_what_it_cannot_see(
    worker: StageWorker, store: Store, swap: Callable[[], Callable[[], None]]
) -> None:
    store.write("bases", worker.base.fingerprint, RECORD)
    worker.execute()
    swap()
    with pytest.raises(OtherStore):
        worker.execute()


def test_the_driver_concludes_nothing_from_an_empty_folder(
    store: Store, grid: Grid, swap: Callable[[], Callable[[], None]]
) -> None:
    events: list[dict[str, Any]] = []
    outcomes = Outcomes(store, {}, events.append)
    run = grid.runs[0]
    store.write("runs", run.fingerprint, RECORD)
    assert outcomes.done(run)
    back = swap()
    with pytest.raises(OtherStore):
        outcomes.done(run)
    with pytest.raises(OtherStore):
        outcomes.failed(grid.runs[1], Failure("lost", "x"))
    assert events == []
    back()
    assert outcomes.done(run)


def test_no_attempt_is_counted() -> None:
    assert kind_of_death(GONE) == STORAGE
    world = World(bases=1, runs=1, pack_size=1)
    attempts = Attempts(world, Retries(max_attempts=2))
    run = world.runs[0]
    waits = [attempts.verdict(run, Failure(STORAGE, GONE), stopping=False)[0] for _ in range(20)]
    assert set(waits) == {Retries().delay}
    assert world.reasons == {}
    died = Failure("lost", "the worker was killed")
    assert [attempts.verdict(run, died, stopping=False)[0] for _ in range(2)] == [0.0, None]


@pytest.mark.parametrize("translated", [False, True])
def test_work_of_a_node_that_has_lost_the_storage_is_done_elsewhere(translated: bool) -> None:
    world = World(bases=1, runs=3, pack_size=3, translated=translated, retries=Retries(max_attempts=1))
    for _ in range(12):
        while not (stages := started(world, 1)):
            world.now += 1
        world.board.starts.works(stages[0].key)
        world.board.finish(stages[0].key, GONE)
    assert world.reasons == {}
    world.drive(0, slots=1)
    assert world.settled == {(run.fingerprint, True): 1 for run in world.runs}


def test_when_no_group_sees_the_storage_the_sweep_ends_and_blames_no_work() -> None:
    world = World(bases=2, runs=3, pack_size=3)

    def drive() -> None:
        for _ in range(10_000):
            for stage in started(world, 1):
                world.board.finish(stage.key, GONE)
            world.now += 1

    with pytest.raises(OtherStore, match="sees no store at /mnt/study"):
        drive()
    assert world.reasons == {}


def test_a_driver_refuses_links_before_anything_is_trained(tmp_path: Path) -> None:
    from flare_ray.study import Study

    fields = write_study(tmp_path)
    file = write_sweep(tmp_path / "small.yaml", fields)
    (tmp_path / "results").mkdir()
    (tmp_path / "big").mkdir()
    (tmp_path / "results" / "runs").symlink_to(tmp_path / "big")
    with pytest.raises(InputError, match="symbolic link") as error:
        Study.open(file)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("error", [None, RuntimeError("Tune broke down")])
def test_the_driver_does_not_begin_anew_in_an_empty_folder(
    error: Exception | None,
    store: Store,
    swap: Callable[[], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither when Tune ended by itself, as all seems given up, nor when it broke down and all seems left to do."""
    from flare_ray.execution import driver

    plans: list[int] = []

    class Attempt:
        def __init__(self, *_: Any):
            pass

        def run(self) -> Exception | None:
            swap()
            return error

    monkeypatch.setattr(driver, "_Attempt", Attempt)
    execution: Any = driver.Execution(
        plan=lambda: plans.append(1),  # type: ignore[arg-type,return-value]
        store=store,
        common=Resources(),
        resources_of=lambda model, task: Resources(),
        provenance={},
        expected=lambda work: 1.0,
        on_event=lambda event: None,
    )
    with pytest.raises(OtherStore, match="sees no store"):
        execution.run()
    assert plans == [1]


def test_a_driver_that_waits_is_stopped_and_ends_with_75_and_the_reason(
    tmp_path: Path,
    swap: Callable[[], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While its workers train nothing is written: the renewal of the lease is what sees it."""
    from functools import partial
    from threading import Event

    from rich.console import Console

    from flare_ray import running
    from flare_ray.commands.guard import guarded
    from flare_ray.execution.driver import Interrupted
    from flare_ray.store.lease import Lease
    from flare_ray.study import Study

    def waits(study: Study, console: Console, retry: bool, stop: Any, on_death: Any) -> Any:
        stopped = Event()
        stop.by(stopped.set)
        swap()
        assert stopped.wait(30)
        raise Interrupted("stopped before everything was done")

    study = Study.open(write_sweep(tmp_path / "small.yaml", write_study(tmp_path)), to_execute=False)
    identity(study.store.files)
    monkeypatch.setattr(study.store, "lease", partial(Lease, study.store.files, ttl=0.6))
    monkeypatch.setattr(running, "_execute", waits)
    assert guarded(lambda: int(bool(running.execute(study, Console())))) == 75
    said = capsys.readouterr()
    assert f"sees no store at {study.store.root}" in said.err
    assert "taken over" not in said.err + said.out
