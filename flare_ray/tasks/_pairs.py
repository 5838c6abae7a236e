"""Do paired rows belong together? Rows that translate one another have the same label.

One row that is missing pairs all later rows with another row's English where rows are known by their place; shuffled
files, ids of another table and labels in another order show in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING

from flare_ray.errors import InputError, Problem

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_AGREEMENT = 0.95
"""Share of paired rows whose labels must be equal; in XNLI and NusaX all are."""
_MOST_LABELS = 6  # whose orders are tried
_EXAMPLES = 2
_LONGEST = 40  # characters of a text in an example


@dataclass(frozen=True)
class Agreement:
    """How many labels of paired rows are equal. examples: of those that are not.

    reading: the other order of the labels in which enough of them would be equal, in words; empty without one.
    """

    pairs: int
    equal: int
    examples: tuple[str, ...] = ()
    reading: str = ""

    @property
    def differ(self) -> int:
        """Pairs with two labels."""
        return self.pairs - self.equal

    @property
    def refused(self) -> bool:
        """Whether too few labels are equal for the rows to be translations of one another."""
        return self.equal < LEAST_AGREEMENT * self.pairs


def agreement(target: pa.Table, source: pa.Table) -> Agreement:
    """Compare the labels of rows with one id in two tables. Tables without labels (answers) agree."""
    import pyarrow.compute as pc

    if "label" not in target.column_names or "label" not in source.column_names:
        return Agreement(0, 0)
    places = pc.index_in(target["id"], value_set=source["id"].combine_chunks())
    labels = source["label"].combine_chunks().take(places.combine_chunks())
    equal = pc.equal(target["label"].combine_chunks(), labels)
    pairs = len(places) - places.null_count
    result = Agreement(pairs, pc.sum(equal).as_py() or 0)
    if not result.differ:
        return result
    rows = pc.indices_nonzero(pc.invert(equal)).slice(0, _EXAMPLES)
    target_labels, theirs = target.take(rows).to_pylist(), source.take(places.take(rows)).to_pylist()
    columns = [name for name in target.column_names if name not in ("id", "label")]
    examples = [
        f"{row['id']}: {_shown(row, columns)} {row['label']}, English {_shown(other, columns)} {other['label']}"
        for row, other in zip(target_labels, theirs, strict=True)
    ]
    reading = _other_order(target["label"], labels, pairs) if result.refused else ""
    return replace(result, examples=tuple(examples), reading=reading)


def untranslated(target: pa.Table, source: pa.Table, texts: Sequence[str]) -> tuple[int, int]:
    """Return how many rows with one id have the same texts in two tables, and how many rows have one id."""
    import pyarrow.compute as pc

    places = pc.index_in(target["id"], value_set=source["id"].combine_chunks()).combine_chunks()
    same = places.is_valid()
    for column in texts:
        same = pc.and_(
            same, pc.equal(target[column].combine_chunks(), source[column].combine_chunks().take(places))
        )
    return pc.sum(same).as_py() or 0, len(places) - places.null_count


def _other_order(target_labels: pa.ChunkedArray, english: pa.Array, pairs: int) -> str:
    """Return as what the target's labels must be read for enough of them to be equal; nothing if nothing helps."""
    import pyarrow as pa

    labels = pa.table({"mine": target_labels.combine_chunks(), "english": english}).drop_null()
    counts = labels.group_by(["mine", "english"]).aggregate([([], "count_all")])
    seen = {(group["mine"], group["english"]): group["count_all"] for group in counts.to_pylist()}
    names = sorted({name for pair in seen for name in pair})
    if len(names) > _MOST_LABELS:
        return ""
    orders = (list(zip(names, order, strict=True)) for order in permutations(names))
    best = max(orders, key=lambda order: sum(seen.get(pair, 0) for pair in order))
    if sum(seen.get(pair, 0) for pair in best) < LEAST_AGREEMENT * pairs:
        return ""
    return ", ".join(
        f"{target_labels} read as {english}" for target_labels, english in best if target_labels != english
    )


def _shown(row: dict[str, str], columns: list[str]) -> str:
    text = " / ".join(str(row[column]) for column in columns)
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def label_problem(where: str, what: str, result: Agreement) -> Problem:
    """Return the problem of rows whose labels are not their English rows'. what: `the ace train split`."""
    reading = f" (in at least {LEAST_AGREEMENT:.0%} with {result.reading})" if result.reading else ""
    got = f"{what}: labels equal the English rows' in {result.equal} of {result.pairs}{reading}; "
    got += "; ".join(result.examples)
    expected = (
        f"at least {LEAST_AGREEMENT:.0%}: rows with one id translate one another; check for a missing row, "
        "another order of the rows or of the labels"
    )
    return Problem(where, got, expected)


def check_agreement(where: str, what: str, target: pa.Table, source: pa.Table) -> int:
    """Return how many paired rows have two labels. Raises InputError where they are too many."""
    result = agreement(target, source)
    if result.refused:
        raise InputError(where, [label_problem(where, what, result)])
    return result.differ
