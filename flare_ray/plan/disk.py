"""What a sweep will fill of its store: as much as its own finished records take, else by counted parameters.

    disk = Disk(finished, size)
    disk.of(run).bytes, disk.of(run).basis     # 3.4e6, "finished ones"

A run keeps an adapter in fp32, predictions and a record; a base model is a whole checkpoint in the precision of its
weights, never quantised; a translated split keeps its texts, and the translation memory beside it the same texts in
both languages. Not counted: MLflow's files, Ray's, a fusion function's own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flare_ray import registry
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.cost import Work
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.row_counts import counted
from flare_ray.plan.schema import ModelSpec
from flare_ray.plan.shapes import Shape, shape_of
from flare_ray.plan.sizes import TOKENS, rows
from flare_ray.plan.translation_cost import size_here

SizeOf = Callable[[str, str], float | None]
"""Bytes of a finished record with its files, of a kind and a fingerprint; None where they cannot be told."""
KINDS = {Run: "runs", Base: "bases", Corpus: "corpora"}
_FP32 = 4
_WEIGHTS = {"fp32": 4, "bf16": 2}
_TOKENIZER = 20e6
_RECORD = 11e3
"""record.json, and the files beside an adapter's weights."""
_PREDICTION = 40
"""A row of predictions.parquet."""
_TOKEN = 4
"""Letters of a token, before compression."""
_WITH_MEMORY = 3
"""A text in its split, and in the translation memory in both languages."""
_IN_FLIGHT = 4
"""A checkpoint has the adapter's weights, the best ones so far, and AdamW's two moments."""


@dataclass(frozen=True)
class Size:
    """Bytes, None when nothing is known; and what that is taken from."""

    bytes: float | None
    basis: str


_COUNTED, _UNKNOWN = "counted parameters and rows", Size(None, "unknown")


@dataclass(frozen=True)
class Filled:
    """Sizes added up, by kind ("runs", "bases", "corpora"). unknown: pieces without a figure."""

    bytes: dict[str, float]
    unknown: int
    bases: tuple[str, ...]


class Disk:
    """Sizes of work in the store. finished: some of it that is there; size: what that takes."""

    def __init__(self, finished: Iterable[Work], size: SizeOf):
        self.size = size
        self._samples: dict[tuple[Any, ...], str] = {}
        for work in finished:
            self._samples.setdefault(_group(work), work.fingerprint)
        self._known: dict[tuple[Any, ...], Size] = {}

    def of(self, work: Work) -> Size:
        """What a piece of work takes: as the finished one that is most like it."""
        group = _group(work)
        if group not in self._known:
            self._known[group] = self._measure(group, work) or _count(work)
        return self._known[group]

    def total(self, works: Iterable[Work]) -> Filled:
        """What works take together."""
        taken, unknown, bases = dict.fromkeys(KINDS.values(), 0.0), 0, dict[str, None]()
        for work in works:
            size = self.of(work)
            bases[size.basis] = None
            if size.bytes is None:
                unknown += 1
            else:
                taken[KINDS[type(work)]] += size.bytes
        return Filled(taken, unknown, tuple(bases))

    def _measure(self, group: tuple[Any, ...], work: Work) -> Size | None:
        found = self.size(KINDS[type(work)], self._samples[group]) if group in self._samples else None
        if found is None:
            return None
        return Size(found * (_WITH_MEMORY if isinstance(work, Corpus) else 1), "finished ones")


def in_flight(works: Iterable[Run | Base], places: int) -> float:
    """Most bytes of unfinished work's checkpoints when so much runs at a time."""
    largest: dict[tuple[Any, ...], float] = {}
    for work in works:
        group = _group(work)
        if group not in largest:
            largest[group] = _IN_FLIGHT * (_adapter(work) or 0.0)
    return places * max(largest.values(), default=0.0)


def _group(work: Work) -> tuple[Any, ...]:
    """Work that takes the same."""
    if isinstance(work, Corpus):
        return "corpora", work.task, work.split
    if isinstance(work, Base):
        return "bases", work.model.name, work.task, work.settings["precision"], work.settings["rank"]
    cell, settings = work.cell, work.settings
    return "runs", cell.model.name, cell.task, cell.method, settings.get("rank"), settings.get("mt_model")


def _count(work: Work) -> Size:
    if isinstance(work, Corpus):
        found = _of_corpus(work)
    elif isinstance(work, Base):
        shape = shape_of(work.model.checkpoint)
        found = shape.parameters * _WEIGHTS[work.settings["precision"]] + _TOKENIZER if shape else None
    else:
        found = _of_run(work)
    return _UNKNOWN if found is None else Size(found, _COUNTED)


def _of_corpus(corpus: Corpus) -> float | None:
    if here := size_here(corpus):
        return here.rows * here.distinct_tokens * _TOKEN * _WITH_MEMORY
    count = rows(corpus.task, corpus.data, corpus.split)
    return None if count is None else float(count * TOKENS[corpus.task] * _TOKEN * _WITH_MEMORY)


def _of_run(run: Run) -> float | None:
    task, data = run.cell.task, run.base.source
    here = counted(task, data, run.cell.language, "test")
    adapter, tested = _adapter(run), here.rows if here else rows(task, data, "test")
    return None if adapter is None or tested is None else adapter + _PREDICTION * tested + _RECORD


def _adapter(work: Run | Base) -> float | None:
    """Bytes of what is trained; None where the model's shape is not known."""
    model, task = (work.cell.model, work.cell.task) if isinstance(work, Run) else (work.model, work.task)
    method = registry.load("methods", work.cell.method if isinstance(work, Run) else "lora")
    if not method.trains:
        return 0.0
    shape, family = shape_of(model.checkpoint), registry.load("models", model.family)
    lora = shape.adapter(family.lora_modules, work.settings["rank"]) if shape else None
    if shape is None or lora is None:
        return None
    projection = 0
    if encoder := method.translator(work.settings):
        source = shape_of(encoder)
        projection = shape.width * source.width if source else 0
    return float(_FP32 * (lora + _head(shape, model, task) + projection))


def _head(shape: Shape, model: ModelSpec, task: str) -> int:
    """Parameters of a trained head: a layer as wide as the model over a whole text, two numbers for each token."""
    family = registry.load("models", model.family)
    form = family.forms[registry.load("tasks", task).kind]
    if not family.heads[form]:
        return 0
    return shape.width**2 if form == "classification" else 2 * shape.width
