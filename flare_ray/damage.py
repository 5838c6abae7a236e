"""Damaged work of a study: what the store holds of it and is not what was written.

    for one in damaged_work(study): print(one)      # runs/3f…: xlm-r/nusax/ace/lora/seed 1: metrics …
    quarantine_damaged_inputs(study, study.stages())

Damaged work counts as not done: the next `run` trains it again, and the damaged files go to quarantine/. Reports and
plans name it, and end with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from flare_ray.execution.searching import damaged_answers
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base
from flare_ray.plan.stages import Stages
from flare_ray.store import Damaged
from flare_ray.study import Study

_SHOWN = 20


@dataclass(frozen=True, order=True)
class DamagedWork:
    """A piece of work whose stored files are not what was written. place: in the store; label: for people."""

    place: str
    label: str
    why: str

    def __str__(self) -> str:
        return f"{self.place} ({self.label}): {self.why}"


def damaged_work(study: Study) -> list[DamagedWork]:
    """Return the damaged runs, base models, translated splits and search answers of a study, sorted by place.

    Records are checked as `store/inspection.py` says; the content of large files is checked when it is read.
    """
    labels = {("runs", run.fingerprint): run.label for run in study.runs()}
    labels |= {("bases", base.fingerprint): base.label for base in study.grid.bases}
    labels |= {("corpora", corpus.fingerprint): corpus.label for corpus in study.grid.corpora}
    damage = [
        DamagedWork(f"{kind}/{name}", labels[kind, name], why)
        for kind in ("runs", "bases", "corpora")
        for name, why in study.store.damaged(kind).items()
        if (kind, name) in labels
    ]
    answers = {search.place: search.question.label for search in study.searches}
    damage += [
        DamagedWork(path, answers[path], why)
        for path, why in damaged_answers(study.searches, study.store).items()
    ]
    return sorted(damage)


def print_damage(damage: Sequence[DamagedWork], console: Console, remedy: str) -> None:
    """Print a bounded list of damaged work, and what to do about it; nothing where there is none."""
    if not damage:
        return
    for item in damage[:_SHOWN]:
        console.print(f"damaged: {item}", markup=False, soft_wrap=True)
    if len(damage) > _SHOWN:
        console.print(f"damaged: … and {len(damage) - _SHOWN} more", markup=False)
    console.print(remedy, markup=False, soft_wrap=True)


def quarantine_damaged_inputs(study: Study, todo: Stages) -> list[DamagedWork]:
    """Quarantine damaged base models and translated splits that work starts from, or that nothing needs now.

    Those that the work to do starts from are read, each file once per machine as long as it does not change. Of an
    object store nothing is read here: workers check what they copy.
    """
    unneeded = list(_quarantined_unneeded(study, todo))
    return unneeded + (list(_quarantined(study, todo)) if study.store.local else [])


def _quarantined_unneeded(study: Study, todo: Stages) -> Iterator[DamagedWork]:
    """Move away damaged records that nothing makes again now; what is made again replaces its record itself."""
    again = {f"bases/{base.fingerprint}" for base in todo.bases}
    again |= {f"corpora/{corpus.fingerprint}" for stage in todo.translations for corpus in stage.corpora}
    for one in damaged_work(study):
        if one.place.startswith(("bases/", "corpora/")) and one.place not in again:
            yield replace(one, why=f"{one.why}; moved to {study.store.quarantine(one.place)}")


def _quarantined(study: Study, todo: Stages) -> Iterator[DamagedWork]:
    store = study.store
    stored = {kind: store.finished(kind) for kind in ("bases", "corpora")}
    inputs: dict[str, Base | Corpus] = {}
    for run in todo.todo:
        inputs |= {f"bases/{run.base.fingerprint}": run.base}
        inputs |= {f"corpora/{corpus.fingerprint}": corpus for corpus in run.corpora}
    for path, work in sorted(inputs.items()):
        kind, _, fingerprint = path.partition("/")
        if fingerprint not in stored[kind]:
            continue
        try:
            store.folder(kind, fingerprint)
        except Damaged as error:
            yield DamagedWork(path, work.label, f"{error}; moved to {store.quarantine(path)}")
