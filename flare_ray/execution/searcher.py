"""The stage graph as a Tune searcher: a trial is suggested the moment its own inputs are ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from ray.tune.search import Searcher

from flare_ray.execution.board import Board, Stage
from flare_ray.execution.capacity import Capacity, amounts
from flare_ray.plan.grid import Base
from flare_ray.plan.stages import Translating
from flare_ray.plan.wire import base_to_dict, corpus_to_dict, run_to_dict

_LONG = 600.0
"""Seconds after which a stage that waits for its worker group is spoken of, and again after twice as many."""
log = logging.getLogger(__name__)


class StageSearcher(Searcher):
    """Hands out the board's stages, as many at a time as there is room for, and tells it how they ended.

    shared: what every trial's config has beside its stage and that stage's resources. answer: called with a question
    of a worker group and what it is to do (desk.py). watched: fingerprints of runs that are to report validations.
    """

    def __init__(
        self,
        board: Board,
        capacity: Capacity,
        shared: dict[str, Any],
        answer: Callable[[str, Any], None] = lambda question, answer: None,
        watched: Collection[str] = (),
    ):
        super().__init__(metric="training_iteration", mode="max")
        self.board, self.capacity, self.shared = board, capacity, shared
        self.answer, self.watched = answer, watched
        self._stages: dict[str, Stage] = {}
        self._patience = _LONG

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles searchers; what this one knows is in the store

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial, None while everything left must wait, FINISHED at the end."""
        if self.board.done:
            return Searcher.FINISHED
        self._say_what_waits()
        stage = self.board.start(self.capacity.fits)
        if stage is None:
            return None
        self._take(trial_id, stage)
        resources = self.capacity.resources(stage.needs).model_dump()
        return {**self.shared, "resources": resources, "stage": stage_to_dict(stage, self.watched)}

    def _say_what_waits(self) -> None:
        """On a cluster that grows a stage may wait for long, and for ever where no node that comes can hold it."""
        waited = self.board.starts.longest()
        if waited < _LONG:
            self._patience = _LONG
        if waited < self._patience:
            return
        self._patience = 2 * waited
        waiting = [one for key, one in self.board.running.items() if not self.board.starts.begun(key)]
        wants = amounts(self.capacity.needs(waiting[0].needs))
        log.warning(
            "%d stages wait for nodes, one since %.0f minutes; it needs %s", len(waiting), waited / 60, wants
        )

    def key(self, trial_id: str) -> str:
        """Of the stage that a trial is at."""
        return self._stages[trial_id].key

    def next(self, trial_id: str) -> None:
        """A trial's worker group is done with its stage: it continues with the most urgent one, unless that needs
        other resources, or all must wait.

        A group that continues saves the start of another one: processes, imports, a GPU's context.
        """
        before = self._stages[trial_id]
        self._leave(trial_id, None)
        held = self.capacity.resources(before.needs)
        stage = self.board.start(
            self.capacity.fits,
            lambda work: isinstance(work, Base) and self.capacity.resources(work) == held,
        )
        if stage is not None:
            self._take(trial_id, stage)
        self.answer(f"next/{before.key}", stage and stage_to_dict(stage, self.watched))

    def pool(self, trial_id: str, question: str, wanted: int) -> None:
        """A translation stage has work for so many translators, and asks how many it may have."""
        work = self._stages[trial_id].work
        assert isinstance(work, Translating)
        self.answer(question, self.capacity.grow(work, wanted, self.board.beside(work)))

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing: `ended` is called right after, by the callback that also knows the error."""

    def ended(self, trial_id: str, error: str | None) -> None:
        """The trial ended, with the text of the error that ended it, and with it the stage that it was at."""
        if trial_id in self._stages:
            self._leave(trial_id, error)

    def _take(self, trial_id: str, stage: Stage) -> None:
        self.capacity.take(stage.needs)
        self._stages[trial_id] = stage

    def _leave(self, trial_id: str, error: str | None) -> None:
        stage = self._stages.pop(trial_id)
        self.capacity.give(stage.needs)
        self.board.finish(stage.key, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is finished, and a new start plans again from it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


def stage_to_dict(stage: Stage, watched: Collection[str] = ()) -> dict[str, Any]:
    """A stage as JSON values: kind, key, the base, and the runs of a pack; `first` when it trains its own base.

    watched: fingerprints of runs that report their validations.
    """
    if isinstance(stage.work, Translating):
        corpora = [corpus_to_dict(corpus) for corpus in stage.work.corpora]
        return {"kind": "translation", "key": stage.key, "corpora": corpora}
    if isinstance(stage.work, Base):
        return {"kind": "base", "key": stage.key, "base": base_to_dict(stage.work)}
    runs = [run_to_dict(run) | {"watched": run.fingerprint in watched} for run in stage.work.runs]
    return {"kind": "pack", "key": stage.key, "base": base_to_dict(stage.work.base), "runs": runs} | {
        "first": stage.first is not None
    }
