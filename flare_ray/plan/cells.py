"""What a grid is made of: cells, runs, the base models that they start from.

A **cell** is a point of the grid without its seed; a **run** is a cell and a seed, the unit of record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.fingerprint import Identified
from flare_ray.plan.schema import ModelSpec


@dataclass(frozen=True)
class Base(Identified):
    """A base model: a checkpoint fine-tuned on English task data, merged; once per (model, task, seed)."""

    model: ModelSpec
    task: str
    source: str
    seed: int
    settings: dict[str, Any] = field(hash=False)
    identity: dict[str, Any] = field(hash=False)
    max_dropped: float = 0.01

    @property
    def label(self) -> str:
        """For people: model/task/base/seed."""
        return f"{self.model.name}/{self.task}/base/seed {self.seed}"


@dataclass(frozen=True)
class Cell:
    """A point of the grid without its seed.

    axes: values of the axes that apply to the method; options: those of its own that are not their defaults.
    """

    model: ModelSpec
    task: str
    language: str
    method: str
    axes: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def variant(self) -> str:
        """The method with its axes and options: `flare (add_relu, r=8, train_only)`."""
        axes = dict(self.axes)
        values = [str(axes.pop("fusion"))] if "fusion" in axes else []
        values += [f"r={axes.pop('rank')}"] if "rank" in axes else []
        values += [f"{name}={value}" for name, value in axes.items()]
        values += [name if value is True else f"{name}={value}" for name, value in self.options]
        return f"{self.method} ({', '.join(values)})" if values else self.method

    @property
    def label(self) -> str:
        """For people, and unique in a sweep: model/task/language/method (axes)."""
        return f"{self.model.name}/{self.task}/{self.language}/{self.variant}"


@dataclass(frozen=True)
class Run(Identified):
    """A cell and a seed, with everything that determines its result."""

    cell: Cell
    seed: int
    base: Base
    settings: dict[str, Any] = field(hash=False)
    identity: dict[str, Any] = field(hash=False)
    corpora: tuple[Corpus, ...] = ()

    @property
    def label(self) -> str:
        """For people: the cell's label and the seed."""
        return f"{self.cell.label}/seed {self.seed}"


@dataclass(frozen=True)
class Skipped:
    """A point of the grid that is not run, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Grid:
    """All runs of a sweep, and what was skipped."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]

    @property
    def cells(self) -> list[Cell]:
        """Each cell once, in the order of the runs."""
        return list(dict.fromkeys(run.cell for run in self.runs))

    @property
    def corpora(self) -> list[Corpus]:
        """Each translated split once, by fingerprint."""
        every = (one for run in self.runs for one in run.corpora)
        return list({one.fingerprint: one for one in every}.values())

    @property
    def bases(self) -> list[Base]:
        """Each base model once, by fingerprint."""
        return list({run.base.fingerprint: run.base for run in self.runs}.values())
