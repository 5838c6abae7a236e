"""The stage graph: base models, then packs of runs that start from one of them.

A **pack** is the set of runs that one Train worker group executes one after another on one loaded base model.
Packing is execution: it changes when and where a run is trained, never what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flare_ray.plan.grid import Base, Grid, Run


@dataclass(frozen=True)
class Pack:
    """Runs of one base model, in the order of the grid."""

    base: Base
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """For people: which base, and how many runs."""
        first = self.base
        return f"{first.model.name}/{first.task}/seed {first.seed}: {len(self.runs)} runs"


@dataclass(frozen=True)
class Stages:
    """What is left to do, and what is done. Each stage needs its base model, and nothing else."""

    bases: tuple[Base, ...]
    packs: tuple[Pack, ...]
    done: tuple[Run, ...]
    bases_done: int

    @property
    def todo(self) -> list[Run]:
        """Runs that are not finished, each once."""
        return [run for pack in self.packs for run in pack.runs]


def stages(grid: Grid, finished: Collection[str], bases_stored: Collection[str], pack_size: int) -> Stages:
    """The stages of a grid, given the fingerprints of finished runs and stored base models.

    A base model is made only when a run needs it: one whose runs are all finished is not.
    """
    done: list[Run] = []
    waiting: dict[str, dict[str, Run]] = {}
    for run in grid.runs:
        if run.fingerprint in finished:
            done.append(run)
        else:
            waiting.setdefault(run.base.fingerprint, {})[run.fingerprint] = run
    packs = [pack for runs in waiting.values() for pack in pack_runs(list(runs.values()), pack_size)]
    bases = [
        base for base in grid.bases if base.fingerprint in waiting and base.fingerprint not in bases_stored
    ]
    stored = sum(base.fingerprint in bases_stored for base in grid.bases)
    return Stages(tuple(bases), tuple(packs), tuple(done), stored)


def pack_runs(runs: Sequence[Run], pack_size: int) -> list[Pack]:
    """Runs of one base model in packs of nearly equal size, none above `pack_size`."""
    count = -(-len(runs) // pack_size)
    bounds = [len(runs) * index // count for index in range(count + 1)]
    return [Pack(runs[0].base, tuple(runs[a:b])) for a, b in pairwise(bounds)]
