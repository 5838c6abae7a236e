"""Translators as a Ray Data actor pool, and the Tune trial that feeds them.

The trial itself holds no CPU: it reads rows, writes worklists and puts the corpora together, and Ray Data brings
each chunk to one of a pool of processes. How many there may be the driver says, which reserves them (capacity.py).
Only the places of chunks go through Ray; nothing else of the pipeline asks for a CPU, so it cannot starve itself.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from flare_ray.errors import InputError
from flare_ray.execution.capacity import translator_gpus, translators
from flare_ray.execution.cluster import can_have
from flare_ray.execution.processes import prepare
from flare_ray.execution.retries import kind_of
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.schema import Resources
from flare_ray.redaction import redacted
from flare_ray.store import Store
from flare_ray.store.guard import OtherStore
from flare_ray.translation.memory import Pair
from flare_ray.translation.stage import Stopped, build

_RETRIES = 3
log = logging.getLogger(__name__)
OnProgress = Callable[[dict[str, Any]], None]


class _Translators:
    """What one process of the pool runs."""

    def __init__(
        self,
        storage: str,
        pair: dict[str, str],
        settings: dict[str, Any],
        resources: dict[str, Any],
        desk: str | None,
        reading: tuple[bool, str | None],
        umask: int | None = None,
    ):
        prepare(umask)
        from flare_ray.execution.prefetch import read_from

        read_from(storage, *reading)
        import torch

        from flare_ray.execution.desk import Errand
        from flare_ray.translation.translator import Translator

        threads = max(1, int(resources["cpus_per_translator"]))
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.translator = Translator(
            Store(storage, reading[1]),
            Pair(**pair),
            settings,
            resources["translation_tokens"],
            device,
            threads,
            resources["translation_saved_every"],
            Errand(desk).stopped,
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """One chunk, by its place; counts of what was translated."""
        made = [self.translator.chunk(str(place)) for place in batch["place"]]
        return {name: [counts[name] for counts in made] for name in ("texts", "tokens", "left")}


class RayPool:
    """A pool (translation/stage.py) on the Ray that this process is joined to.

    resources: the sweep's. on_progress: called with pair, texts (done), missing, seconds and texts per second. desk:
    of the driver, which may want it to stop (desk.py). grant: how many translators it may have of so many that it has
    work for; what the cluster holds, if left out. reading: offline and the store's id, see prefetch.py. umask: of
    the translators' processes; their own, if left out.
    """

    def __init__(
        self,
        storage: str,
        resources: dict[str, Any],
        on_progress: OnProgress,
        desk: str | None = None,
        grant: Callable[[int], int] | None = None,
        reading: tuple[bool, str | None] = (False, None),
        umask: int | None = None,
    ):
        self.reading, self.umask = reading, umask
        self.storage, self.resources, self.on_progress, self.desk = storage, resources, on_progress, desk
        self.grant = grant or self._all

    def _all(self, wanted: int) -> int:
        return min(wanted, translators(Resources(**self.resources), can_have()))

    def __call__(self, pair: Pair, settings: dict[str, Any], places: list[str], missing: int) -> None:
        """Translates the chunks; returns when all are done. Raises Stopped."""
        started, texts = time.perf_counter(), 0
        for row in self._rows(pair, settings, places):
            texts += int(row["texts"])
            if row["left"]:
                raise Stopped("the driver wants it to stop")
            seconds = time.perf_counter() - started
            self.on_progress(
                {
                    "pair": pair,
                    "texts": texts,
                    "missing": missing,
                    "seconds": seconds,
                    "rate": texts / seconds,
                }
            )

    def _rows(self, pair: Pair, settings: dict[str, Any], places: list[str]) -> Iterator[dict[str, Any]]:
        """The counts of each chunk, as it is done."""
        import ray.data

        from flare_ray.execution.desk import Errand

        _quiet()
        errand = Errand(self.desk)
        resources = Resources(**self.resources)
        most, gpus = self.grant(len(places)), translator_gpus(resources)
        rows = ray.data.from_items([{"place": place} for place in places], override_num_blocks=len(places))
        done = rows.map_batches(
            _Translators,
            fn_constructor_args=(
                self.storage,
                vars(pair),
                settings,
                self.resources,
                self.desk,
                self.reading,
                self.umask,
            ),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_cpus=resources.cpus_per_translator,
            num_gpus=gpus or None,
            max_restarts=_RETRIES,  # Ray Data's own are without end
            max_task_retries=_RETRIES,
        )
        for row in done.iter_rows():
            yield {**row, "left": row["left"] or errand.stopped()}


def _quiet() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)


def run_translation(config: dict[str, Any]) -> None:
    """The stage of a trial: a language's splits by one translator. config: see trial.py."""
    stage = _Stage(config)
    try:
        stage.run()
    except Stopped as stopped:
        log.info("%s: %s", config["stage"]["key"], stopped)


class _Stage:
    """One stage, and what it tells the driver through Tune."""

    def __init__(self, config: dict[str, Any]):
        from flare_ray.execution.desk import Errand

        self.config, self.store = config, Store(config["storage"], config.get("store"))
        self.corpora = [Corpus(**value) for value in config["stage"]["corpora"]]
        self.provenance = config["provenance"] | {"host": socket.gethostname()}
        self.errand, self.granted = Errand(config.get("desk")), 1

    def run(self) -> None:
        """Makes the corpora. Raises Stopped."""
        config = self.config
        self._report("started", self.corpora[0], {})
        pool = RayPool(
            config["storage"],
            config["resources"],
            self.on_progress,
            config.get("desk"),
            self.grant,
            (config.get("offline", False), config.get("store")),
            config.get("umask"),
        )
        build(self.store, self.corpora, pool, self.done, self.provenance, self.failed)

    def grant(self, wanted: int) -> int:
        """How many translators the driver has room for, of so many."""
        from ray import tune

        if wanted > 1 or self.granted > 1:
            question = f"pool/{self.config['stage']['key']}/{uuid.uuid4().hex}"
            tune.report({"event": "pool", "question": question, "wanted": wanted})
            self.granted = self.errand.ask(question) or 1
        return self.granted

    def on_progress(self, facts: dict[str, Any]) -> None:
        """A chunk is translated."""
        wanted = ("texts", "missing", "rate")
        self._report("progress", self.corpora[0], {name: facts[name] for name in wanted})

    def done(self, corpus: Corpus, record: dict[str, Any]) -> None:
        """A corpus is stored."""
        facts = {"metrics": headline(record), "seconds": record["cost"]["stage_seconds"]}
        self._report("finished", corpus, facts)

    def failed(self, corpus: Corpus, error: Exception) -> None:
        """The boundary between one corpus and the others, which continue."""
        if isinstance(root_cause(error), OtherStore):
            raise error
        failure = _failure(corpus, error) | {"provenance": self.provenance}
        self.store.write_failure(corpus.fingerprint, failure)
        self._report("failed", corpus, {"error": failure["error"]})

    def _report(self, event: str, corpus: Corpus, facts: dict[str, Any]) -> None:
        from ray import tune

        about = {"event": event, "kind": "corpus", "fingerprint": corpus.fingerprint, "label": corpus.label}
        tune.report({**about, **facts})


def _failure(corpus: Corpus, error: Exception) -> dict[str, Any]:
    cause = root_cause(error)
    return {
        "fingerprint": corpus.fingerprint,
        "label": corpus.label,
        "kind": kind_of(cause),
        "error": redacted(f"{type(cause).__name__}: {cause}"),
        "traceback": "".join(traceback.format_exception(error)),
        "at": time.time(),
    }


def root_cause(error: BaseException) -> BaseException:
    """What went wrong first: Ray wraps a task's error, and Ray Data that one again, or marks it as not a task's."""
    seen: set[int] = set()
    while id(error) not in seen and not isinstance(error, InputError):
        seen.add(id(error))
        cause = getattr(error, "cause", None) or error.__cause__ or error
        error = error if type(cause).__name__ == _MARK else cause
    return error


_MARK = "SystemException"
"""Of Ray Data's, without a word: the cause that it gives to errors of Ray itself, as of a dead actor."""


def headline(record: dict[str, Any]) -> dict[str, float]:
    """The few numbers of a corpus that a line of the log has."""
    found = {"rows": float(record["usable"])}
    if "retention" in record:
        found["retention"] = 100 * record["retention"]
    return found | {
        f"chrf_{column}": scores["chrf"]["score"] for column, scores in record["against_gold"].items()
    }
