"""The driver: stages onto Ray, through Tune, until the board is empty.

Tune schedules and is disposable: what is finished is in the store, and a new start plans again from it. So does this
one when Tune, or the Ray that it started itself, breaks down under it.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flare_ray.execution.board import Board
from flare_ray.execution.capacity import Capacity, trial_needs
from flare_ray.execution.durations import Durations, Work
from flare_ray.execution.metrics import Load
from flare_ray.execution.outcomes import OnEvent, Outcomes
from flare_ray.execution.prefetch import prefetches
from flare_ray.execution.ray_files import ray_files, run_storage
from flare_ray.execution.retries import Retries
from flare_ray.execution.searching import Searches
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import Stages, Translating
from flare_ray.store import Store
from flare_ray.store.identity import identity
from flare_ray.umask import umask

_BREAKDOWNS = 3
"""Times in a row that everything may break down before a single run is finished."""
_START_SECONDS = 20.0
"""What a worker group takes to start; packs are cut so that this is little of them."""
_STUCK = 600.0
"""Seconds in which a worker group starts even on a machine that is very busy."""
log = logging.getLogger(__name__)


class Interrupted(RuntimeError):
    """The sweep was stopped from outside (Ctrl-C); what is finished is kept."""


@dataclass
class Execution:
    """How stages are executed.

    plan: the stages that are left, by what the store has now. resources_of: of a model's name and a task; common:
    those of the whole sweep. expected: seconds of work. on_event: called in this process for every run, base model or
    corpus that starts, finishes or fails, with `event`, `kind` ("base" | "run" | "corpus"), `fingerprint`, `label`,
    `trial`, the `work` itself, and what the event brings (seconds, metrics, error). on_stop: called at the first
    signal. trial: what a Tune trial runs, on its config; trial.run_stage if left out. searches: what adds runs while
    others run; on_more: told of what they add. stopped: whether it was asked to stop.
    """

    plan: Callable[[], Stages]
    store: Store
    common: Resources
    resources_of: Callable[[str, str], Resources]
    provenance: dict[str, Any]
    expected: Callable[[Work], float]
    on_event: OnEvent
    on_stop: Callable[[], None] = lambda: None
    trial: Callable[[dict[str, Any]], None] | None = None
    searches: Callable[[], Searches] | None = None
    on_more: Callable[[Stages], None] = lambda stages: None
    _attempt: _Attempt | None = None
    stopped: bool = False

    def run(self) -> None:
        """Executes every stage. Needs a Ray to be joined (`cluster.connect`) first.

        Raises InputError for a stage that the cluster could never hold, Interrupted after a signal, OtherStore when
        the storage is not there any more.
        """
        from flare_ray.execution.stopping import OnSignal

        durations, in_a_row, before = Durations(self.expected), 0, None
        stages = self.plan()
        while True:
            self._attempt = attempt = _Attempt(self, stages, durations)
            with OnSignal(self.stop):
                if self.stopped:
                    attempt.stop()  # asked before it was there
                error = attempt.run()
            if self.stopped:
                raise Interrupted("stopped before everything was done; the same command goes on from here")
            self.store.files.check(afresh=True)  # nothing can be concluded from an empty folder in its place
            if error is None:
                return
            stages = self.plan()
            left = len(stages.todo)
            in_a_row = in_a_row + 1 if left == before else 1
            before = left
            if in_a_row == _BREAKDOWNS:
                raise error
            log.warning("Ray broke down, starting again from what is stored: %s", error)
            _reconnect()

    def stuck(self) -> bool:
        """Whether a stage waits for its worker group beyond all reason, where nothing need be waited for.

        When Ray's processes are killed at random, as for want of memory, it may keep reservations of worker groups
        that are gone (ray#54305): no other one ever starts then. A cluster that scales may well take so long. So may
        a group beside translators, which come and go with their work.
        """
        if self._attempt is None or self._attempt.board.translating:
            return False
        return self._attempt.board.starts.longest() > _STUCK

    def load(self) -> Load:
        """What runs now. From any thread."""
        return self._attempt.load() if self._attempt else Load()

    def stop(self) -> None:
        """Lets what runs come to its next checkpoint, and starts nothing more. From any thread."""
        self.stopped = True
        if self._attempt:
            self._attempt.stop()


class _Attempt:
    """One Tuner over what is left."""

    def __init__(self, execution: Execution, stages: Stages, durations: Durations):
        from flare_ray.execution.cluster import can_have, nodes
        from flare_ray.execution.desk import Desk

        self.execution, self.durations = execution, durations
        store, common = execution.store, execution.common
        self.capacity = Capacity(can_have(), execution.resources_of, common, nodes())
        works: list[Base | Translating] = [*(pack.base for pack in stages.packs), *stages.translations]
        self.capacity.check(works)
        self.outcomes = Outcomes(store, execution.provenance, self.on_event)
        self.board = Board.of(
            stages,
            self.outcomes,
            retries=Retries(common.max_attempts),
            durations=durations,
            slots=self.capacity.slots(works),
            pack_size=common.pack_size,
            start_seconds=_START_SECONDS,
        )
        self.desk = Desk()
        self.works: dict[str, Work] = {}
        self._know(stages)
        self.searches = execution.searches() if execution.searches else None
        if self.searches:
            self.searches.attach(self.board, stages, self._more)
        self.shared: dict[str, Any] = {
            "storage": store.url,
            "ray_storage": ray_files(store.files),
            "provenance": execution.provenance,
            "desk": self.desk.name,
            "offline": prefetches(common),
            "store": identity(store.files),
            "umask": umask(),
        }

    def _know(self, stages: Stages) -> None:
        self.works |= {run.fingerprint: run for run in stages.todo}
        self.works |= {base.fingerprint: base for base in stages.bases}
        self.works |= {one.fingerprint: one for work in stages.translations for one in work.corpora}

    def _more(self, stages: Stages) -> None:
        self.capacity.check([pack.base for pack in stages.packs])
        self._know(stages)
        self.execution.on_more(stages)

    def run(self) -> Exception | None:
        """The error that broke Tune down, None when it came to its end."""
        try:
            self._tuner().fit()
        except Exception as error:  # the boundary to Tune: what is finished is stored
            return error
        return None if self.board.done else RuntimeError("Tune ended before its searcher did")

    def stop(self) -> None:
        """Lets what runs come to its next checkpoint, and starts nothing more."""
        self.board.stopping = True
        self.desk.close()
        self.execution.on_stop()

    def load(self) -> Load:
        """What runs now, and what it reserves."""
        running, devices = list(self.board.running.items()), defaultdict[str, float](float)
        working = defaultdict[str, float](float)
        for key, stage in running:
            kind, count = self.capacity.devices(stage.needs)
            devices[kind] += count
            if self.board.starts.begun(key):  # one that waits for its nodes costs nothing
                working[kind] += count
        return Load(Counter(stage.kind for _, stage in running), devices, working)

    def on_event(self, event: dict[str, Any]) -> None:
        """Something started, finished or failed."""
        if "trial" in event:
            self.board.starts.works(event["trial"])
        if event["event"] == "validated":
            self._validated(event)
            return
        if event["event"] == "finished":
            if event["kind"] == "base":
                self.board.base_stored(event["fingerprint"])
            elif event["kind"] == "corpus":
                self.board.translated(event["fingerprint"])
            if "seconds" in event:
                self.durations.note(self.works[event["fingerprint"]], event["seconds"])
        self.execution.on_event(event | {"work": self.works[event["fingerprint"]]})

    def _validated(self, event: dict[str, Any]) -> None:
        run = self.works[event["fingerprint"]]
        if self.searches and isinstance(run, Run):
            for stage, gone in self.searches.validated(run, event["share"], event["value"]):
                self.desk.answer(f"drop/{stage}/{gone.fingerprint}", True)

    def _tuner(self) -> Any:
        from ray import tune

        from flare_ray.execution.events import Events
        from flare_ray.execution.searcher import StageSearcher
        from flare_ray.execution.trial import run_stage

        _keep_credentials_out()
        searcher = StageSearcher(
            self.board,
            self.capacity,
            self.shared,
            self.desk.answer,
            self.searches.watched if self.searches else (),
        )
        return tune.Tuner(
            tune.with_resources(self.execution.trial or run_stage, trial_needs(self.capacity.cluster)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,  # a process less to start for each stage
                trial_name_creator=lambda trial: trial.config["stage"]["key"],
                trial_dirname_creator=lambda trial: trial.config["stage"]["key"],
            ),
            run_config=tune.RunConfig(
                name="tune",
                **run_storage(self.shared["ray_storage"]),
                callbacks=[Events(searcher, self.on_event)],
                verbose=0,
            ),
        )


def _reconnect() -> None:
    """Leaves the broken Ray, or what is left of it, and joins or starts one again."""
    import ray

    from flare_ray.execution.cluster import connect
    from flare_ray.execution.local_ray import keep_ray_files

    keep_ray_files()
    ray.shutdown()
    connect()


def _keep_credentials_out() -> None:
    """Tune hands the driver's AWS keys to trials in a form that Ray's logs and dashboard show; nodes have theirs."""
    from ray.tune.execution import class_cache

    named = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(named)
