"""Target rows beside their English rows, paired by id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from flare_ray.forms._features import Features
from flare_ray.tasks._pairs import check_agreement


@dataclass(frozen=True)
class Split:
    """One split as a method reads it.

    target: what is predicted for. source: English features, and source_of: which of their sequences stands beside
    each target sequence, [target sequences]. source_key names the English features' content, so that their hidden
    states can be shared between runs. unpaired: target rows that were left out for want of an English row.
    differ: rows whose label is not their English row's.
    """

    target: Features
    source: Features | None = None
    source_of: np.ndarray | None = None
    source_key: str = ""
    unpaired: int = 0
    differ: int = 0

    def __len__(self) -> int:
        return len(self.target)


def pair(target: Features, source: Features, source_key: str = "") -> Split:
    """Each target row with the English row of the same id; a row without one is left out and counted.

    Where rows are cut in windows, the k-th of the target stands beside the k-th of the source, or its last. Raises
    InputError where the labels of paired rows say that they are no translations of one another.
    """
    differ = check_agreement("pairs", "the rows of this split", target.table, source.table)
    places = pc.index_in(target.table["id"], value_set=source.table["id"].combine_chunks())
    found = places.is_valid().to_numpy()
    unpaired = int((~found).sum())
    if unpaired:
        target = target.take_rows(np.flatnonzero(found))
    rows = places.drop_null().to_numpy()
    order = np.argsort(source.row_of, kind="stable")
    first = np.searchsorted(source.row_of[order], np.arange(source.rows + 1))
    window = np.arange(len(target)) - np.searchsorted(target.row_of, target.row_of)
    mine = rows[target.row_of]
    source_of = order[np.minimum(first[mine] + window, first[mine + 1] - 1)]
    return Split(target, source, source_of, source_key, unpaired, differ)


def english_rows_of(target: Features, source: Features) -> tuple[Features, int]:
    """The English rows of the target's ids, in the target's order, and how many target rows have none.

    A translated question without a translated answer is none: nothing could be right about it. Raises InputError as
    `pair` does.
    """
    check_agreement("pairs", "the rows of this split", target.table, source.table)
    if "answers" in source.table.column_names:
        answered = pc.greater(pc.list_value_length(source.table["answers"]), 0)
        source = source.take_rows(np.flatnonzero(answered.to_numpy()))
    places = pc.index_in(target.table["id"], value_set=source.table["id"].combine_chunks())
    return source.take_rows(places.drop_null().to_numpy()), places.null_count
