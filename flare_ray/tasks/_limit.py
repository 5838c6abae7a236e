"""The first rows of a split, the same ids in every language, so that rows which translate one another stay together.

Where a language shares ids with the English split, its first rows are the first English rows that it has too,
whatever the order of its own file. Where it shares none, as TyDiQA's languages, they are the first of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flare_ray.errors import InputError
from flare_ray.tasks._rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from flare_ray.tasks.base import Task


def first_rows(task: Task, source: str, language: str, split: str, rows: Rows, limit: int | None) -> Rows:
    """Return the rows, in their order, whose ids are the first `limit` of a language's split; None for all rows.

    rows: of that language, of its English translation, or of the English split; English rows that share no id with
    the language's are the first of their own.
    """
    import pyarrow.compute as pc

    if limit is None:
        return rows
    ids = rows.table["id"]
    chosen = _first_ids(task, source, language, split, limit)
    kept = pc.is_in(ids, value_set=chosen)
    if not pc.any(kept).as_py():
        kept = pc.is_in(ids, value_set=ids.slice(0, limit).combine_chunks())
    return replace(rows, table=rows.table.filter(kept))


def _first_ids(task: Task, source: str, language: str, split: str, limit: int) -> pa.Array:
    """Return the first `limit` ids of a language's split."""
    import pyarrow.compute as pc

    ids = task.read(source, language, split, max_dropped=1.0).table["id"]
    if language != task.source_language:
        try:
            english = task.read(source, task.source_language, split, max_dropped=1.0).table["id"]
        except InputError:  # no English split
            return ids.slice(0, limit).combine_chunks()
        shared = english.filter(pc.is_in(english, value_set=ids.combine_chunks()))
        ids = shared if len(shared) else ids
    return ids.slice(0, limit).combine_chunks()
