"""What one Ray Train worker does with a stage: a base model, or the runs of a pack one after another.

Each run is its own: its seed, its record, its failure. A run that raises is written down and the next one starts;
a run that is finished already (by a worker that died before it could say so) is not trained again.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.torch import get_device

from flare_ray.execution.desk import Answer, Errand
from flare_ray.execution.leaving import leaving
from flare_ray.execution.monitor import Monitor
from flare_ray.execution.pruning import training_share
from flare_ray.execution.reports import Reports
from flare_ray.execution.retries import kind_of
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.wire import base_from_dict, run_facts, run_from_dict
from flare_ray.redaction import redacted
from flare_ray.store import Damaged, Store
from flare_ray.store.guard import OtherStore
from flare_ray.training.checkpoints import Keeper
from flare_ray.training.engine import Group, join_group
from flare_ray.training.fit import OnValidation, Stopped
from flare_ray.training.model_card import write_card
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Subject, Workbench
from flare_ray.translation.corpus import ROWS

log = logging.getLogger(__name__)


def train_loop(config: dict[str, Any]) -> None:
    """`train_loop_per_worker` of every trial: its first stage, and those that the driver gives it after that.

    config: the first stage, and what all stages share (see trial.py).
    """
    _use_threads(config["resources"]["cpus_per_worker"])
    group = _group(config["resources"])
    errand, reports = Errand(config.get("desk")), Reports()
    stage: dict[str, Any] | None = config["stage"]
    while stage is not None:
        StageWorker(config, stage, group, errand, reports).execute()
        gc.collect()  # the base model of this stage makes room for the next one's
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if any_of(leaving(), group):
            return
        reports.tell({"event": "next"})
        stage = _next_stage(stage["key"], group, errand)


def _next_stage(key: str, group: Group, errand: Errand) -> dict[str, Any] | None:
    """What the driver wants this group to do after a stage; None when it is to end."""
    return agreed(errand.ask(f"next/{key}") if group.first else None, group)


def _group(resources: Mapping[str, Any]) -> Group:
    """The worker group that this process belongs to, joined."""
    context, device = ray.train.get_context(), str(get_device())
    join_group(device)
    return Group(
        workers=context.get_world_size(),
        worker=context.get_world_rank(),
        zero_stage=resources["zero_stage"],
        device=device,
    )


def agreed(answer: Any, group: Group) -> Any:
    """The first worker's answer: all must decide alike."""
    found = [answer]
    if group.workers > 1:
        torch.distributed.broadcast_object_list(found, src=0)
    return found[0]


def any_of(answer: Any, group: Group) -> bool:
    """Whether it is so on any worker."""
    found = [answer]
    if group.workers > 1:
        found = [None] * group.workers
        torch.distributed.all_gather_object(found, answer)
    return any(found)


class StageWorker:
    """One worker of a group at one stage."""

    def __init__(
        self, config: dict[str, Any], stage: dict[str, Any], group: Group, errand: Errand, reports: Reports
    ):
        self.resources = config["resources"]
        self.store = Store(config["storage"], config.get("store"))
        self.provenance = config["provenance"] | {"host": socket.gethostname(), "device": _device_name()}
        self.stage, self.errand, self.reports = stage, errand, reports
        self.base = base_from_dict(stage["base"])
        self.group = replace(
            group,
            micro_batch=self.resources["micro_batch"] or self.base.model.micro_batch,
            gradient_checkpointing=self.base.model.gradient_checkpointing,
        )

    def execute(self) -> None:
        """The base model, the runs, or both, unless the driver wants it to stop."""
        try:
            if self.stage["kind"] == "base" or self.stage["first"]:
                self.base_model()
            if self.stage["kind"] == "pack":
                self.pack()
        except Stopped as stopped:
            log.info("%s: %s", self.stage["key"], stopped)
        except Exception:
            self.store.files.check(
                afresh=True
            )  # of a storage that is gone no error says anything about the work
            raise

    def base_model(self) -> None:
        """Trains the base model and keeps it, unless another worker already has."""
        base = self.base
        if self._stored("bases", base.fingerprint):
            return
        self._report("started", base, {})

        def work(out: Path, keeper: Keeper) -> dict[str, Any]:
            bench = self._workbench(base.model.checkpoint)
            record = train_base(bench, base.settings, base.seed, out, keeper=keeper)
            facts = {"fingerprint": base.fingerprint, "label": base.label, "seed": base.seed}
            return facts | {"settings": base.settings, "identity": base.identity} | record

        error = self._guarded(base, "bases", work)
        if error is not None:
            raise error  # what needs this base cannot start: the trial fails

    def pack(self) -> None:
        """Executes the pack's runs on one loaded base model."""
        bench = self._workbench(str(self._sound_base()))
        for value in self.stage["runs"]:
            run = run_from_dict(value, self.base)
            if any_of(self._is_to_stop(), self.group):
                return
            if self._stored("runs", run.fingerprint):
                self._report("finished", run, {})
                continue
            self._report("started", run, {})
            told = self._watched(bench, run) if value["watched"] else None
            dropped = self.errand.question(f"drop/{self.stage['key']}/{run.fingerprint}") if told else None

            def work(out: Path, keeper: Keeper, run: Run = run, told: OnValidation | None = told) -> Any:
                cell = run.cell
                bench.corpora = self._corpora(run)
                wanted = (cell.method, cell.language, run.settings, run.seed, out)
                record = run_facts(run) | train_run(bench, *wanted, told, keeper=keeper)
                if self.group.first:
                    write_card(out, record)
                return record

            error = self._guarded(run, "runs", work, dropped)
            if isinstance(error, Stopped):
                if dropped and any_of(dropped.now(), self.group):
                    self._drop(run)
                    continue
                return
            if error is not None and self.group.workers > 1:
                raise error  # the other workers wait in a collective operation: only a new group can continue

    def _sound_base(self) -> Path:
        """Return the base model's folder, checked; a damaged base goes to quarantine and is trained again here."""
        fingerprint, folder, damage = self.base.fingerprint, None, ""
        try:
            folder = self.store.folder("bases", fingerprint)
        except Damaged as error:
            damage = str(error)
        if any_of(bool(damage), self.group):
            if self.group.first:
                log.warning("base model %s: %s: training it again", self.base.label, damage)
                self.store.quarantine(f"bases/{fingerprint}")
            self._barrier()
            self.base_model()
        return folder or self.store.folder("bases", fingerprint)

    def _is_to_stop(self) -> bool:
        return self.errand.stopped() or leaving()

    def _watched(self, bench: Workbench, run: Run) -> OnValidation:
        """Reports a run's validations: those who want it may find that it is not worth more."""
        name = f"validation_{bench.task.metric}"

        def told(entry: dict[str, float]) -> None:
            share = training_share(entry, run.settings)
            self._report("validated", run, {"share": share, "value": entry[name]})

        return told

    def _drop(self, run: Run) -> None:
        """A run that nobody wants any more, its checkpoint included."""
        if self.group.first:
            _forget(Keeper(self.store, run.fingerprint))
        self._report("dropped", run, {})

    def _corpora(self, run: Run) -> dict[tuple[str, str], Path]:
        """The run's translated splits, as files of this machine."""
        return {
            (corpus.language, corpus.split): self._sound_corpus(corpus.fingerprint) / ROWS
            for corpus in run.corpora
        }

    def _sound_corpus(self, fingerprint: str) -> Path:
        """Return a translated split's folder, checked. Raises Damaged: the next start translates it again."""
        try:
            return self.store.folder("corpora", fingerprint)
        except Damaged:
            self.store.quarantine(f"corpora/{fingerprint}")
            raise

    def _workbench(self, checkpoint: str) -> Workbench:
        base = self.base
        subject = Subject(
            family=base.model.family,
            checkpoint=checkpoint,
            task=base.task,
            data=base.source,
            precision=base.settings["precision"],
            quantization=base.model.quantization,
            attention=base.model.attention,
            max_dropped=base.max_dropped,
            limit=base.settings.get("limit"),
        )
        wanted = ("source_cache_mb", "source_cache", "source_cache_disk_gb")
        return Workbench(subject, self.group, **{name: self.resources[name] for name in wanted})

    def _guarded(
        self,
        item: Run | Base,
        kind: str,
        work: Callable[[Path, Keeper], dict[str, Any]],
        dropped: Answer | None = None,
    ) -> Exception | None:
        """Does the work and keeps its record, or writes down why not. The boundary between one run and the next.

        Work that was stopped, or is not wanted any more (dropped), leaves its checkpoint and no word about it. Raises
        what shows that this process, or another one of its group, is lost.
        """
        started = time.perf_counter()
        every = self.resources["checkpoint_seconds"]
        keeper = Keeper(
            self.store,
            item.fingerprint,
            every,
            lambda: self._is_to_stop() or bool(dropped and dropped.now()),
        )
        try:
            with (
                tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch,
                Monitor(self.group.device) as monitor,
            ):
                record = work(Path(scratch), keeper)
                if self.group.first:
                    facts = {"provenance": self.provenance, "execution": self.resources}
                    whole = record | {"system": monitor.facts()} | facts
                    self.store.write(kind, item.fingerprint, whole, Path(scratch))
                    _forget(keeper)
            self._barrier()
        except Stopped as stopped:
            return stopped
        except Exception as error:
            if isinstance(error, OtherStore) or kind_of(error) == "lost" or _is_broken():
                raise  # this process can do no more: another one tries again
            self.store.files.check(afresh=True)
            self.store.write_failure(item.fingerprint, self._failure(item, error))
            self._report("failed", item, {"error": redacted(f"{type(error).__name__}: {error}")})
            return error
        cost = record["cost"]
        tokens = cost.get("tokens_per_second", 0.0) * cost["train_seconds"]
        facts = {"seconds": time.perf_counter() - started, "metrics": record["metrics"], "tokens": tokens}
        self._report("finished", item, facts)
        return None

    def _failure(self, item: Run | Base, error: Exception) -> dict[str, Any]:
        return {
            "fingerprint": item.fingerprint,
            "label": item.label,
            "kind": kind_of(error),
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "provenance": self.provenance,
            "worker": self.group.worker,
            "at": time.time(),
        }

    def _stored(self, kind: str, fingerprint: str) -> bool:
        """Whether the record is there. Raises OtherStore where no record could be."""
        self.store.files.check()
        return bool(agreed(self.store.has(kind, fingerprint), self.group))

    def _barrier(self) -> None:
        if self.group.workers > 1:
            torch.distributed.barrier()

    def _report(self, event: str, item: Run | Base, facts: dict[str, Any]) -> None:
        """Tells the driver, through Train and Tune."""
        kind = "base" if isinstance(item, Base) else "run"
        about = {"event": event, "kind": kind, "fingerprint": item.fingerprint, "label": item.label, **facts}
        if event == "finished":
            self.reports.hold(about)
        else:
            self.reports.tell(about)


def _use_threads(cpus: float) -> None:
    threads = max(1, int(cpus))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _forget(keeper: Keeper) -> None:
    """Removes a checkpoint; one that cannot be removed now is left to `flare-ray store gc`."""
    try:
        keeper.forget()
    except Exception as error:
        log.warning("%s stays: %s: %s", keeper.place, type(error).__name__, error)


def _is_broken() -> bool:
    """Whether the GPU answers no more: after some errors nothing works in a process that worked before."""
    try:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
