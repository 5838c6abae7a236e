"""Can every label be learnt, and is what is tested not what was trained on?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from flare_ray.tasks._row_reader import Reader

_FEW = 9  # rows; in fewer a label of three may be absent by chance
_LISTED = 5  # splits with copies that a warning names
_OVERLAPS = (("train", "test"), ("validation", "test"), ("train", "validation"))


def check_labels(checked: Reader, language: str, splits: Sequence[str]) -> None:
    """Find labels of the task without a row: nothing is learnt of them, and macro F1 counts them as 0."""
    task = checked.task
    if not task.labels:
        return
    tables = {split: table for split in splits if (table := checked.table(language, split)) is not None}
    if len(tables) < len(splits) or not all(map(len, tables.values())):
        return  # reported already
    labels = {split: _labels_of(table) for split, table in tables.items()}
    known = [label for label in task.labels if any(label in labels_here for labels_here in labels.values())]
    if absent := [label for label in task.labels if label not in known]:
        report = checked.report if sum(map(len, tables.values())) >= _FEW else checked.warn
        got = f"{', '.join(absent)}: no row of {language} in {', '.join(splits)} has this label"
        report(got, f"rows of all labels, {' | '.join(task.labels)}: macro F1 counts an absent one as 0")
    for split, labels_here in labels.items():
        missing = ", ".join(label for label in known if label not in labels_here)
        if not missing:
            continue
        got = f"{missing}: no row of the {language} {split} split has this label, and others have"
        if split == "train":
            report = checked.report if len(tables[split]) >= _FEW else checked.warn
            report(got, "training rows of every label that is validated or tested")
        else:
            checked.warn(got, "rows of every label: macro F1 counts an absent one as 0")


def _labels_of(table: pa.Table) -> set[str]:
    import pyarrow.compute as pc

    return set(pc.unique(table["label"]).to_pylist())


def check_copies(checked: Reader, splits_of: Mapping[str, Sequence[str]]) -> None:
    """Find rows that are trained on and tested too. splits_of: language -> the splits that are read."""
    copies_found = []
    for language, splits in splits_of.items():
        for trained, tested in _OVERLAPS:
            if trained not in splits or tested not in splits:
                continue
            trained_rows, other = (checked.table_if_there(language, split) for split in (trained, tested))
            copies = _copies(trained_rows, other, checked.task.text_columns) if trained_rows and other else 0
            if not copies or other is None:
                continue
            got = f"{copies} of {len(other)} {tested} rows of {language} are {trained} rows too"
            copies_found.append((copies / len(other), got))
    for text in _most_first(copies_found):
        checked.warn(text, "validation and test rows that nothing is trained or chosen with")


def _most_first(copies_found: Sequence[tuple[float, str]]) -> list[str]:
    """Return one text of splits with copies, those with the largest shares first; none without such splits."""
    texts = [text for _, text in sorted(copies_found, key=lambda entry: -entry[0])]
    more = [f"and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    return ["; ".join([*texts[:_LISTED], *more])] if texts else []


def _copies(trained: pa.Table, tested: pa.Table, texts: Sequence[str]) -> int:
    """Return how many tested rows have the texts of a training row."""
    import pyarrow.compute as pc

    known, other = (_joined(table, texts) for table in (trained, tested))
    there = pc.unique(
        known.filter(pc.is_in(known, value_set=pc.unique(other)))
    )  # looks up the many, hashes the few
    return int(pc.sum(pc.is_in(other, value_set=there)).as_py() or 0)


def _joined(table: pa.Table, texts: Sequence[str]) -> pa.ChunkedArray:
    """Return all texts of each row as one text."""
    import pyarrow.compute as pc

    columns = [table[column] for column in texts]
    return pc.binary_join_element_wise(*columns, "\x1f") if len(columns) > 1 else columns[0]
