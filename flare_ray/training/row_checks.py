"""Checks of rows when they are read: those of the hub are read in the workers for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare_ray.errors import InputError, Problem
from flare_ray.forms._features import Features
from flare_ray.tasks._passages import passage_problems
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa

ENOUGH = 100
"""Training rows, of which some have each label: in fewer, as after `--limit`, one may be absent by chance."""


def absent_labels(task: Task, table: pa.Table) -> list[str]:
    """Return the task's labels that no row has; macro F1 counts them as 0."""
    import pyarrow.compute as pc

    if not task.labels or "label" not in table.column_names:
        return []
    there = set(pc.unique(table["label"]).to_pylist())
    return [label for label in task.labels if label not in there]


def check_training_labels(task: Task, table: pa.Table, language: str, split: str) -> None:
    """Raise InputError for training rows without one of the labels: nothing could be learnt of it."""
    if split == "train" and len(table) >= ENOUGH and (absent := absent_labels(task, table)):
        got = f"{', '.join(absent)}: no row of the {language} train split has this label"
        raise InputError(
            task.name, [Problem(f"data.{task.name}", got, f"rows of all labels, {' | '.join(task.labels)}")]
        )


def check_some_paired(task: Task, target: Features, unpaired: int, language: str, split: str) -> None:
    """Raise InputError for a split of which no row has an English row. unpaired: rows without one."""
    if unpaired and unpaired >= target.rows:
        got = f"none of the {target.rows} rows of the {language} {split} split has an English row of its id"
        expected = "rows with the same ids in English, or translation: files, or a translation model"
        raise InputError(task.name, [Problem(f"data.{task.name}", got, expected)])


def check_passages(task: Task, target: Features, source: Features, language: str, split: str) -> None:
    """Raise InputError for questions whose English of the same id are other questions."""
    where, what = f"data.{task.name}", f"the {language} {split} split"
    if problems := list(passage_problems(where, what, target.table, source.table)):
        raise InputError(task.name, problems)
