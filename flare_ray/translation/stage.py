"""The translation stage: splits in, parallel corpora in the store out.

Every distinct text of all the splits is translated once into the memory, and the corpora are put together from it.
Question answering takes further steps, for the contexts whose markers did not survive. Who translates is handed
in: a pool of processes on a Ray cluster (execution/translating.py), or one translator right here.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flare_ray.plan.corpora import Corpus
from flare_ray.store import Store
from flare_ray.translation.corpus import Translating, pair
from flare_ray.translation.memory import Memory, Pair
from flare_ray.translation.round_trip import round_trips
from flare_ray.translation.worklist import chunks, new_folder, write_chunk

Pool = Callable[[Pair, dict[str, Any], list[str], int], None]
"""Translates chunks, by their places in the store, of a pair with a translator's settings; texts missing in all."""

Asked = Callable[[int], Iterable[str]]
"""The texts of a step, all of them whether translated or not; those of the steps before are."""


def fill(store: Store, memory: Memory, settings: dict[str, Any], asked: Asked, pool: Pool) -> None:
    """Translates step by step what the memory lacks, until a step asks for nothing.

    In each step the worklist follows from the corpora alone, so that batches are the same after an interruption.
    """
    pair, step, more = memory.pair, 0, True
    folder = new_folder(pair)
    while more:
        texts = _Counted(asked(step))
        places: list[str] = []
        missing = 0
        for chunk in chunks(texts, memory):
            places.append(write_chunk(store, folder, chunk))
            missing += chunk.missing
        if places:
            pool(pair, settings, places, missing)
            memory.refresh()
        step, more = step + 1, texts.count > 0
    store.remove(folder)


class _Counted:
    def __init__(self, texts: Iterable[str]):
        self.texts, self.count = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.count += 1
            yield text


class Stopped(RuntimeError):
    """A pool was told to leave. What it translated is in the memory; nothing is wrong with the corpora."""


Done = Callable[[Corpus, dict[str, Any]], None]
Failed = Callable[[Corpus, Exception], None]


def _raise(corpus: Corpus, error: Exception) -> None:
    raise error


def build(
    store: Store,
    corpora: Sequence[Corpus],
    pool: Pool,
    done: Done = lambda corpus, record: None,
    provenance: dict[str, Any] | None = None,
    failed: Failed = _raise,
) -> None:
    """Makes the corpora that the store lacks. Raises Stopped.

    done: called for each, with its record. failed: called for each that cannot be made, while the others go on; what
    the pool raises is charged to all that wait for it. Raises it when left out.
    """
    by_pair: dict[Pair, list[Corpus]] = {}
    for corpus in corpora:
        if not store.has("corpora", corpus.fingerprint):
            by_pair.setdefault(pair(corpus), []).append(corpus)
    for one, members in by_pair.items():
        _make(store, one, _Left(members, failed), pool, done, provenance or {})


class _Left:
    """The corpora of one pair that nothing is wrong with, as far as is known."""

    def __init__(self, corpora: Sequence[Corpus], failed: Failed):
        self.corpora, self.failed = list(corpora), failed

    @contextmanager
    def charged(self, *corpora: Corpus) -> Iterator[None]:
        """What goes wrong within is the fault of these corpora, of all that are left when none is named."""
        try:
            yield
        except Stopped:
            raise
        except Exception as error:
            guilty = corpora or tuple(self.corpora)
            if not guilty:
                raise
            for corpus in guilty:
                self.corpora.remove(corpus)
                self.failed(corpus, error)


def _make(store: Store, pair: Pair, left: _Left, pool: Pool, done: Done, provenance: dict[str, Any]) -> None:
    """Makes those corpora of a pair that can be made."""
    started, opened = time.perf_counter(), list[Translating]()

    def asked(step: int) -> Iterator[str]:
        for work in opened:
            if work.corpus in left.corpora:
                with left.charged(work.corpus):
                    yield from work.asked(step)

    with ExitStack() as stack:
        with left.charged():
            memory = stack.enter_context(Memory(store, pair))
            for corpus in tuple(left.corpora):
                with left.charged(corpus):
                    opened.append(Translating(corpus, memory))
            if opened:
                fill(store, memory, opened[0].corpus.translator, asked, pool)
        whole = [work for work in opened if work.corpus in left.corpora]
        back = round_trips(store, whole, _back(store, whole, pool), Stopped)
        seconds = time.perf_counter() - started
        for work in opened:
            record = None
            if work.corpus in left.corpora:
                with left.charged(work.corpus):
                    trip = back.get(work.corpus.fingerprint)
                    record = _keep(store, work, provenance, seconds, {"round_trip": trip} if trip else {})
            if record is not None:
                done(work.corpus, record)


def _back(store: Store, works: Sequence[Translating], pool: Pool) -> Callable[[Memory, Sequence[str]], None]:
    """Return how texts are translated into a memory by the translator of these splits."""

    def translate(memory: Memory, texts: Sequence[str]) -> None:
        fill(store, memory, works[0].corpus.translator, lambda step: () if step else texts, pool)

    return translate


def _keep(
    store: Store, work: Translating, provenance: dict[str, Any], seconds: float, measured: dict[str, Any]
) -> dict[str, Any]:
    """Writes a corpus and its record. seconds: of the translation of all corpora of the pair together.

    measured: what the record has besides.
    """
    corpus = work.corpus
    if store.has("corpora", corpus.fingerprint):  # by another driver, meanwhile
        return store.record("corpora", corpus.fingerprint)
    with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
        counts = work.write(Path(scratch))
        record = {
            "fingerprint": corpus.fingerprint,
            "label": corpus.label,
            "task": corpus.task,
            "language": corpus.language,
            "split": corpus.split,
            "translator": corpus.translator,
            "answers": corpus.answers,
            "identity": corpus.identity,
            "dropped": dict(work.read.dropped),
            **counts,
            **measured,
            "cost": {"stage_seconds": seconds},
            "started": time.time() - seconds,
            "provenance": provenance,
            "ended": time.time(),
        }
        store.write("corpora", corpus.fingerprint, record, Path(scratch))
    return record


class Here:
    """A pool of one: this process. For tests, and for what is too small for a cluster."""

    def __init__(self, store: Store, **options: Any):
        self.store, self.options = store, options

    def __call__(self, pair: Pair, settings: dict[str, Any], places: list[str], missing: int) -> None:
        """Translates the chunks one after another."""
        from flare_ray.translation.translator import Translator

        translator = Translator(self.store, pair, settings, **self.options)
        for place in places:
            translator.chunk(place)
