"""The stage graph: translations and base models, then packs of runs that start from one of them.

A **pack** is the set of runs that one Train worker group executes one after another on one loaded base model.
Packing is execution: it changes when and where a run is trained, never what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flare_ray.plan.corpora import Corpus
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
class Translating:
    """Splits of one language that one translator makes, of all tasks, in both directions."""

    corpora: tuple[Corpus, ...]

    @property
    def label(self) -> str:
        """For people."""
        first = self.corpora[0]
        splits = ", ".join(dict.fromkeys(f"{corpus.task} {corpus.split}" for corpus in self.corpora))
        return f"{first.language} by {first.translator['model']}: {splits}"


@dataclass(frozen=True)
class Stages:
    """What is left to do, and what is done. A pack needs its base model and its runs' translated splits.

    Packs here are the largest that may be; an execution cuts them as places come free (execution/queues.py).
    """

    bases: tuple[Base, ...]
    packs: tuple[Pack, ...]
    done: tuple[Run, ...]
    bases_done: int
    translations: tuple[Translating, ...] = ()
    corpora_done: int = 0
    given_up: tuple[Run, ...] = ()

    @property
    def todo(self) -> list[Run]:
        """Runs that are not finished, each once."""
        return [run for pack in self.packs for run in pack.runs]


def stages(
    grid: Grid,
    finished: Collection[str],
    bases_stored: Collection[str],
    pack_size: int,
    corpora_stored: Collection[str] = (),
    given_up: Collection[str] = (),
) -> Stages:
    """The stages of a grid, given the fingerprints of finished runs, stored base models and translated splits.

    given_up: fingerprints of work that failed and is left alone.
    A base model or translation is made only when a run needs it: one whose runs are all finished is not.
    """
    done: list[Run] = []
    left_alone: list[Run] = []
    waiting: dict[str, dict[str, Run]] = {}
    for run in grid.runs:
        if run.fingerprint in finished:
            done.append(run)
        elif run.fingerprint in given_up:
            left_alone.append(run)
        else:
            waiting.setdefault(run.base.fingerprint, {})[run.fingerprint] = run
    packs = [pack for runs in waiting.values() for pack in pack_runs(list(runs.values()), pack_size)]
    bases = [
        base for base in grid.bases if base.fingerprint in waiting and base.fingerprint not in bases_stored
    ]
    stored = sum(base.fingerprint in bases_stored for base in grid.bases)
    needed = {corpus.fingerprint: corpus for pack in packs for run in pack.runs for corpus in run.corpora}
    absent = [corpus for corpus in needed.values() if corpus.fingerprint not in corpora_stored]
    there = sum(corpus.fingerprint in corpora_stored for corpus in grid.corpora)
    translations = _by_language(absent)
    return Stages(tuple(bases), tuple(packs), tuple(done), stored, translations, there, tuple(left_alone))


def _by_language(corpora: Sequence[Corpus]) -> tuple[Translating, ...]:
    groups: dict[tuple[str, str], list[Corpus]] = {}
    for corpus in corpora:
        groups.setdefault((corpus.translator_key, corpus.language), []).append(corpus)
    return tuple(Translating(tuple(group)) for group in groups.values())


def pack_runs(runs: Sequence[Run], pack_size: int) -> list[Pack]:
    """Runs of one base model in packs of nearly equal size, none above `pack_size`."""
    count = -(-len(runs) // pack_size)
    bounds = [len(runs) * index // count for index in range(count + 1)]
    return [Pack(runs[0].base, tuple(runs[a:b])) for a, b in pairwise(bounds)]
