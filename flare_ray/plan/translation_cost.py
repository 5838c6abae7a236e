"""What translated splits will cost: measured where finished ones say so, estimated from operations where not.

    costs = TranslationCosts(resources, gpus, finished, read)
    costs.of(corpus).seconds, costs.of(corpus).basis     # 5130.0, "7 finished splits"

A split's work is its rows' tokens, each text once. Finished splits of the same translator and direction give tokens
per second, over all tasks: those of one language were translated together, and their records have the time of all.
An estimate counts 2 operations per token and parameter: the encoder reads the text, the decoder and the vocabulary's
matrix write about as much again, in every beam.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from flare_ray import registry
from flare_ray.plan.checkpoints import translator
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.cost import UNKNOWN, Cost, Read
from flare_ray.plan.row_counts import COUNTED, SplitSize, counted
from flare_ray.plan.schema import Resources
from flare_ray.plan.shapes import shape_of
from flare_ray.plan.sizes import DECODING, TRANSLATED, rows, speed
from flare_ray.store import Damaged

_SAMPLED = 3
"""Languages whose finished splits are read."""
_TOKENS = 50
"""Guessed for an instance of a task that is not in TRANSLATED."""
Direction = tuple[str, bool]
"""A translator's key, and whether it translates into English."""


class TranslationCosts:
    """Costs of a sweep's translated splits. gpus: of one translator. finished: the splits that the store has.

    A pool of translators is taken to have `resources.translators` of them, one where that is left out.
    """

    def __init__(self, resources: Resources, gpus: float, finished: Iterable[Corpus], read: Read):
        self.pool = resources.model_copy(
            update={
                "workers": resources.translators or 1,
                "gpus_per_worker": gpus,
                "cpus_per_worker": resources.cpus_per_translator,
            }
        )
        self.read = read
        self._finished: dict[Direction, dict[str, list[Corpus]]] = {}
        for corpus in finished:
            self._finished.setdefault(_direction(corpus), {}).setdefault(corpus.language, []).append(corpus)
        self._records: dict[Direction, list[Mapping[str, Any]]] = {}
        self._known: dict[str, Cost] = {}

    def of(self, corpus: Corpus) -> Cost:
        """What a split costs, on a pool."""
        if corpus.fingerprint not in self._known:
            self._known[corpus.fingerprint] = self._find(corpus)
        return self._known[corpus.fingerprint]

    def _find(self, corpus: Corpus) -> Cost:
        count = self.rows(corpus)
        if count is None:
            return UNKNOWN
        count = min(count, corpus.limit or count)
        records = self._read(_direction(corpus))
        seconds = sum({record["cost"]["stage_seconds"] for record in records})  # of all that it made together
        if seconds:
            done = sum(record["rows"] * _tokens(record["task"]) for record in records)
            return Cost(count * _tokens(corpus.task) * seconds / done, f"{len(records)} finished splits")
        operations = _operations(corpus.translator)
        if operations is None:
            return UNKNOWN
        rate, device = speed(self.pool, DECODING)
        here = size_here(corpus)
        tokens = here.distinct_tokens if here else _tokens(corpus.task)
        basis = f"operations, on {device}{f'; {COUNTED}' if here else ''}"
        return Cost(count * tokens * operations / rate, basis)

    def rows(self, corpus: Corpus) -> float | None:
        """Return the rows of a split; None where unknown.

        Those that are counted here, else those of its finished like in other languages, else the hub's.
        """
        if here := size_here(corpus):
            return float(here.rows)
        found = [
            record["rows"]
            for record in self._read(_direction(corpus))
            if (record["task"], record["split"]) == (corpus.task, corpus.split)
        ]
        if found:
            return median(found)
        return rows(corpus.task, corpus.data, corpus.split)

    def _read(self, direction: Direction) -> list[Mapping[str, Any]]:
        """Whole records of a few languages. Of one that cannot be read, `flare-ray store verify` tells."""
        if direction not in self._records:
            languages = list(self._finished.get(direction, {}).values())[:_SAMPLED]
            found = [record for some in languages for one in some if (record := self._record(one))]
            self._records[direction] = found
        return self._records[direction]

    def _record(self, corpus: Corpus) -> Mapping[str, Any] | None:
        try:
            record = self.read("corpora", corpus.fingerprint)
            _ = record["rows"], record["task"], record["split"], record["cost"]["stage_seconds"]
        except (Damaged, KeyError, OSError):
            return None
        return record if record["rows"] else None


def size_here(corpus: Corpus) -> SplitSize | None:
    """Return the size of what a split is translated from, where that is on this machine."""
    english = registry.load("tasks", corpus.task).source_language
    return counted(
        corpus.task, corpus.data, corpus.language if corpus.into_english else english, corpus.split
    )


def _direction(corpus: Corpus) -> Direction:
    return corpus.translator_key, corpus.into_english


def _tokens(task: str) -> int:
    return TRANSLATED.get(task, _TOKENS)


def _operations(loaded: Mapping[str, Any]) -> float | None:
    """Of a token read and one written. loaded: what the translator is loaded with."""
    shape = shape_of(translator(loaded["model"]))
    if shape is None:
        return None
    return 2.0 * (shape.encoder + loaded["beams"] * (shape.decoder + shape.embeddings))
