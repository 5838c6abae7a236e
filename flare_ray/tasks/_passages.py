"""Do questions with one id translate one another? They stand in passages that do, and numbers are kept.

XQuAD's questions have the same ids in every language. In its translations 99% of the passages and 92% of the answers
that have numbers in both languages share one; in rows paired at random 15% and less.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from flare_ray.errors import Problem

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_IN_ONE_PASSAGE = 0.95
"""Share of the questions, 0 to 1, that must stand in a passage whose questions stand in one English passage too."""
LEAST_NUMBERS = 0.6
"""Share of the pairs with numbers on both sides, 0 to 1, that must share a number."""
_FEW = 8  # pairs that say too little
_SAMPLED = 2000  # questions that are looked at, the first ones
_EXAMPLES = 2
_NUMBER = re.compile(r"\d+")
Pairs = Sequence[tuple[dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True)
class _Sign:
    """Pairs of which some are as translations are. what: in words."""

    what: str
    pairs: int
    fitting: int
    least: float
    examples: Sequence[str]

    @property
    def refused(self) -> bool:
        """Whether too few pairs fit."""
        return self.pairs >= _FEW and self.fitting < self.least * self.pairs


def passage_problems(where: str, what: str, target: pa.Table, source: pa.Table) -> Iterator[Problem]:
    """Yield a problem for each sign that questions with one id are no translations. what: the split, for people."""
    if "answers" not in target.column_names or "answers" not in source.column_names:
        return
    pairs = _paired(target, source)
    for sign in (
        _passages(pairs),
        _numbers("answers", _answer, pairs),
        _numbers("passages", _context, pairs),
    ):
        if sign.refused:
            got = f"{what}: {sign.what} in {sign.fitting} of {sign.pairs}; {'; '.join(sign.examples)}"
            expected = f"at least {sign.least:.0%}: rows with one id translate one another"
            yield Problem(where, got, expected)


def _paired(target: pa.Table, source: pa.Table) -> Pairs:
    """Return the first questions that both have, each beside the English one of its id."""
    import pyarrow.compute as pc

    places = pc.index_in(target["id"], value_set=source["id"].combine_chunks())
    paired = target.filter(places.is_valid()).slice(0, _SAMPLED)
    english = source.take(places.drop_null().slice(0, _SAMPLED))
    return list(zip(paired.to_pylist(), english.to_pylist(), strict=True))


def _passages(pairs: Pairs) -> _Sign:
    """Compare which questions stand in one passage: the same ones in both languages."""
    contexts = sorted((row["context"], other["context"]) for row, other in pairs)
    fitting = min(_most_frequent(contexts), _most_frequent(sorted((b, a) for a, b in contexts)))
    return _Sign("questions of one passage stand in one English passage", len(pairs), fitting,
                 LEAST_IN_ONE_PASSAGE, list(_torn(pairs))[:_EXAMPLES])  # fmt: skip


def _most_frequent(contexts: Sequence[tuple[str, str]]) -> int:
    """Return the pairs whose second passage is the most frequent one beside their first. contexts: sorted."""
    total = 0
    for _, group in groupby(contexts, key=itemgetter(0)):
        total += max(len(list(same)) for _, same in groupby(group))
    return total


def _torn(pairs: Pairs) -> Iterator[str]:
    """Yield questions of one passage whose English passages differ, or the other way round."""
    for side, other in ((0, 1), (1, 0)):
        first: dict[str, dict[str, Any]] = {}
        for pair in pairs:
            known = first.setdefault(pair[side]["context"], pair[other])
            if known["context"] != pair[other]["context"]:
                yield f"{known['id']} and {pair[0]['id']} share theirs in one language alone"


def _numbers(name: str, text_of: Callable[[dict[str, Any]], str], pairs: Pairs) -> _Sign:
    """Compare the numbers of answers or passages, in any script's digits."""
    numbers = [(row["id"], _found(text_of(row)), _found(text_of(other))) for row, other in pairs]
    both = [row for row in numbers if row[1] and row[2]]
    different = [row for row in both if not row[1] & row[2]]
    examples = [
        f"{row_id} has {min(side)}, its English {min(english)}" for row_id, side, english in different
    ]
    what = f"{name} with numbers share one with their English"
    return _Sign(what, len(both), len(both) - len(different), LEAST_NUMBERS, examples[:_EXAMPLES])


def _found(text: str) -> set[int]:
    return {int(digits) for digits in _NUMBER.findall(text) if len(digits) < 20}


def _answer(row: dict[str, Any]) -> str:
    return " ".join(answer["text"] for answer in row["answers"])


def _context(row: dict[str, Any]) -> str:
    return str(row["context"])
