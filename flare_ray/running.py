"""Running a study: what is left to do, on a Ray cluster, every record on its way to MLflow."""

from __future__ import annotations

import _thread
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.console import only_shows, tolerant_streams, tolerate
from flare_ray.damage import print_damage, quarantine_damaged_inputs
from flare_ray.errors import STOPPED, UNREACHABLE
from flare_ray.execution.dashboard import Dashboard
from flare_ray.execution.failed import forget, given_up, is_given_up
from flare_ray.execution.pruning import Curve, training_share
from flare_ray.execution.searching import Searches
from flare_ray.execution.watchdog import Watchdog
from flare_ray.plan.checkpoints import SANDBOX
from flare_ray.plan.grid import Grid, Run
from flare_ray.plan.stages import Stages
from flare_ray.recording import Recording
from flare_ray.store import Lease, StoreAway
from flare_ray.store.guard import OtherStore
from flare_ray.study import Study

if TYPE_CHECKING:
    from flare_ray.execution.metrics import SweepMetrics
    from flare_ray.execution.prefetch import Wanted
    from flare_ray.execution.progress import Progress

_STOPPING_SECONDS = 120.0
"""What runs may take to stop when the storage is gone: its checkpoints could not be kept anyway."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How an execution ended.

    tracking_errors: what MLflow did not take; the store has it all the same. unanswered: searches that have selected
    nothing.
    """

    failed: tuple[Run, ...]
    tracking_errors: tuple[str, ...]
    unanswered: tuple[str, ...] = ()


def execute(
    study: Study,
    console: Console,
    retry_failed: bool = False,
    wait: bool = False,
    on_death: Callable[[str], None] = lambda what: _thread.interrupt_main(),
) -> Outcome:
    """Trains what is left and records it. Raises InputError before anything is trained, and Interrupted.

    retry_failed: whether work is tried again whose failure lay in the code or the numbers, and that would end the
    same way as far as one can tell. wait: for another driver that works on the same sweep, instead of raising
    LeaseHeld. on_death: called from another thread when the Ray that was started here has died.
    """
    tolerate(console)
    stop = _Stop()
    lease: Lease = study.store.lease(
        study.sweep.name,
        wait=wait,
        on_wait=lambda holder: console.print(f"waiting for another driver: {holder}", markup=False),
        on_lost=lambda: _stop_soon(stop, lease, console),
    )

    def on_dead_ray(what: str) -> None:
        """Acts, and reports with what cannot fail: whatever is raised here would leave the driver waiting."""
        try:
            study.store.files.check(afresh=True)
        except OtherStore as error:  # a new start would begin again in whatever lies in its place
            console.print(f"stopped: {error}", markup=False, soft_wrap=True)
            os._exit(UNREACHABLE)
        except StoreAway:  # a new start waits for it
            pass
        with only_shows("the lease is left to expire"):
            lease.release()
        if stop.stopping():
            console.print(f"Ray's {what} ended before the sweep had stopped: what is finished is kept")
            os._exit(STOPPED)
        console.print(f"Ray's {what} has failed: starting again from what is stored", markup=False)
        on_death(what)

    with tolerant_streams(), lease:
        try:
            return _execute(study, console, retry_failed, stop, on_dead_ray)
        except Exception as error:
            if lease.gone and not isinstance(error, OtherStore):
                raise lease.gone from error
            raise
        finally:
            if stop.force:
                stop.force.cancel()


def _stop_soon(stop: _Stop, lease: Lease, console: Console) -> None:
    """Stops the driver; where its storage is gone, by force if Ray, which keeps files of its own there, hangs."""
    stop()
    if lease.gone:
        stop.force = threading.Timer(_STOPPING_SECONDS, os._exit, (UNREACHABLE,))
        stop.force.daemon = True
        stop.force.start()
        console.print(f"stopping: {lease.gone}", markup=False, soft_wrap=True)


class _Stop:
    """What another thread calls to have the execution stopped; one that comes too early is remembered.

    stopping: whether the execution has been asked to stop, by whomever. watchdog: who looks after it. force: ends the
    process when stopping takes too long; cancelled when the execution has ended.
    """

    def __init__(self) -> None:
        self._asked, self._action = False, lambda: None
        self.stopping: Callable[[], bool] = lambda: self._asked
        self.watchdog: Watchdog | None = None
        self.force: threading.Timer | None = None

    def __call__(self) -> None:
        self._asked = True
        self._action()

    def by(self, action: Callable[[], None]) -> None:
        """The driver's way to stop, from now on."""
        self._action = action
        if self._asked:
            action()


def _execute(
    study: Study, console: Console, retry_failed: bool, stop: _Stop, on_death: Callable[[str], None]
) -> Outcome:
    from flare_ray.execution.provenance import keep_diff, provenance

    facts = provenance() | keep_diff(study.store) | {"sweep": study.sweep.name}
    left_alone = set() if retry_failed else given_up(study.store, study.grid, facts)
    if damage := quarantine_damaged_inputs(study, study.stages(left_alone)):
        print_damage(damage, console, "what of this is still needed is made again")
    todo = study.stages(left_alone)
    with Recording(study) as recording:
        with only_shows("MLflow gets what is missing by `flare-ray sync`"):
            recording.everything()
        if todo.packs or study.searching(
            lambda run: not retry_failed and is_given_up(study.store, run, facts)
        ):
            with Watchdog(on_death) as watchdog:
                stop.watchdog = watchdog
                _train(study, retry_failed, todo, recording, facts, console, stop)
    study.store.files.check(afresh=True)
    finished = study.store.finished("runs")
    failed = [run for run in study.runs() if run.fingerprint not in finished]
    return Outcome(tuple(failed), tuple(recording.writer.errors), tuple(study.unanswered()))


def _train(
    study: Study,
    retry_failed: bool,
    todo: Stages,
    recording: Recording,
    facts: dict[str, Any],
    console: Console,
    stop: _Stop,
) -> None:
    from flare_ray.execution.cluster import connect
    from flare_ray.execution.driver import Execution
    from flare_ray.execution.metrics import SweepMetrics
    from flare_ray.execution.prefetch import fetch, prefetches, wanted
    from flare_ray.execution.progress import Progress

    console.print("starting Ray …")
    connect()
    ahead = study.ahead(todo)
    reads = wanted(ahead)
    _preflight(study, ahead, reads, console)
    if prefetches(study.sweep.resources):
        fetch(study.store, reads, lambda line: console.print(line, markup=False))
    _build_sandbox(study, console)
    forget(study.store, todo)
    metrics = SweepMetrics(study.sweep.name, study.sweep.resources.price_per_hour)
    with Progress(console, len(todo.todo), len(todo.bases)) as progress, metrics:
        unrecorded = {run.fingerprint for run in todo.todo}
        told = _Execution(study, recording, progress, metrics, facts, unrecorded)
        execution = Execution(
            told.plan,
            study.store,
            study.sweep.resources,
            study.sweep.resources_of,
            facts,
            study.costs().expected,
            told.on_event,
            lambda: _report_stop(progress),
            searches=_searches(study, facts, retry_failed) if study.searches else None,
            on_more=told.on_more,
        )
        metrics.counts, metrics.load = _counts(todo, progress), execution.load
        stop.by(execution.stop)
        stop.stopping = lambda: execution.stopped
        if stop.watchdog:
            stop.watchdog.stuck = execution.stuck
        execution.run()


def _report_stop(progress: Progress) -> None:
    with only_shows("the log misses a line"):
        progress.stopping()


def _preflight(study: Study, todo: Stages, reads: Wanted, console: Console) -> None:
    """Prints warnings. Raises InputError with all that nothing can be trained with."""
    from flare_ray.preflight.findings import refuse
    from flare_ray.preflight.run import preflight

    found = preflight(study, todo, reads)
    refuse(found)
    for one in found:
        if not one.good:
            console.print(f"warning: {one}", markup=False, soft_wrap=True)


def _counts(todo: Stages, progress: Progress) -> Callable[[], dict[str, float]]:
    """Counts the runs of the whole sweep: those of this execution, and those that were settled before it."""
    finished, failed = (len({run.fingerprint for run in runs}) for runs in (todo.done, todo.given_up))

    def counts() -> dict[str, float]:
        now = progress.counts()
        return now | {"finished": finished + now["finished"], "failed": failed + now["failed"]}

    return counts


@dataclass(frozen=True)
class _Execution:
    """What the driver asks and tells while it executes. facts: where the code comes from (provenance.py).

    unrecorded: fingerprints of the runs that were left when MLflow got what there was.
    """

    study: Study
    recording: Recording
    progress: Progress
    metrics: SweepMetrics
    facts: dict[str, Any]
    unrecorded: set[str]

    def plan(self) -> Stages:
        """What is left, also after Ray broke down: what this execution has given up stays so.

        Workers of a driver that was killed may have finished a run meanwhile, of which nobody tells: it is recorded.
        """
        left = self.study.stages(given_up(self.study.store, self.study.grid, self.facts))
        for run in left.done:
            if run.fingerprint in self.unrecorded:
                with only_shows("MLflow gets a result at the next start"):
                    self.recording.run(run)
                self.unrecorded.discard(run.fingerprint)
        forget(self.study.store, left)
        return left

    def on_event(self, event: dict[str, Any]) -> None:
        """Something started, finished or failed: shows it, and hands it to MLflow's writer."""
        with only_shows("the log misses a line"):
            self.progress.on_event(event)
            self.metrics.trained(event.get("tokens", 0.0))
        with only_shows("MLflow gets a result at the next start"):
            self._record(event)

    def _record(self, event: dict[str, Any]) -> None:
        match event["event"], event["kind"]:
            case "finished", "run":
                self.unrecorded.discard(event["fingerprint"])
                self.recording.run(event["work"])
            case "finished", "corpus":
                self.recording.corpus(event["fingerprint"])
            case "failed", "run":
                self.recording.failure(event["work"])

    def on_more(self, stages: Stages) -> None:
        """A search has added runs."""
        forget(self.study.store, stages)
        self.progress.more(len(stages.todo), len(stages.bases))


def _searches(study: Study, facts: dict[str, Any], retry_failed: bool) -> Callable[[], Searches]:
    """Makes the sweep's searches again, by what the store has then."""
    tried: set[str] = set()
    dashboard = _optuna_storage(study)

    def left_alone(run: Run) -> bool:
        """Once more where the user asks for it."""
        again = retry_failed and run.fingerprint not in tried
        tried.add(run.fingerprint)
        return not again and is_given_up(study.store, run.fingerprint, facts)

    def objective(record: Mapping[str, Any]) -> tuple[float, Curve]:
        name = f"validation_{registry.load('tasks', record['task']).metric}"
        settings = record["settings"]
        curve = [(training_share(entry, settings), entry[name]) for entry in record["history"]]
        return float(record["validation"][name]), curve

    def make() -> Searches:
        return Searches(
            study.searches,
            study.store,
            {run.fingerprint for run in study.grid.runs},
            lambda runs: study.stages_of(Grid(tuple(runs), ())),
            objective,
            left_alone,
            dashboard,
        )

    return make


def _optuna_storage(study: Study) -> Any:
    """Where optuna-dashboard can look: a file beside the records, when they are in a folder."""
    return Dashboard(Path(study.store.root) / "optuna.db") if study.store.local else None


def _build_sandbox(study: Study, console: Console) -> None:
    checkpoints = [model.checkpoint for model in study.sweep.models]
    checkpoints += [corpus.translator["checkpoint"] for corpus in study.grid.corpora]
    uses_models = any(checkpoint.startswith(SANDBOX) for checkpoint in checkpoints)
    if not uses_models and "sandbox" not in study.sweep.data.values():
        return
    from flare_ray.tasks._sandbox import built_sandbox

    built_sandbox(cache_folder(), console.print)
