"""Features keep every sequence, its row and its arrays, in memory or in files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from flare_ray.forms import _features
from flare_ray.forms._features import Builder, Features, pad, tokens_and_mask

ROWS = [[(5, 6), (7,)], [(8, 9, 10)], [(), (11,), (12, 13)]]


def features() -> Features:
    builder = Builder()
    for row, windows in enumerate(ROWS):
        for number, tokens in enumerate(windows):
            offsets = [(10 * token, 10 * token + 1) for token in tokens]
            builder.add(tokens, {"span": (row, number)}, {"offsets": np.reshape(offsets, (-1, 2))}, row)
    return builder.finish(pa.table({"id": ["a", "b", "c"]}), {"truncated": 1})


def listed(found: Features) -> list[list[tuple[int, ...]]]:
    return [
        [tuple(found.sequence(k).tolist()) for k in np.flatnonzero(found.row_of == row)]
        for row in range(found.rows)
    ]


@pytest.mark.parametrize("threshold", [1 << 24, 4])
def test_what_is_added_is_read_back_from_memory_or_a_map(
    monkeypatch: pytest.MonkeyPatch, threshold: int
) -> None:
    monkeypatch.setattr(_features, "_IN_MEMORY", threshold)
    found = features()
    assert isinstance(found.tokens, np.memmap) == (threshold == 4)
    assert listed(found) == ROWS
    assert found.lengths.tolist() == [2, 1, 3, 0, 1, 2]
    assert found.by_sequence["span"].tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [2, 2]]
    for index in range(len(found)):
        assert found.of_token("offsets", index)[:, 0].tolist() == (10 * found.sequence(index)).tolist()
        assert found.of_token("offsets", index)[:, 1].tolist() == (10 * found.sequence(index) + 1).tolist()
    taken = found.take_rows(np.array([2, 0]))
    assert listed(taken) == [ROWS[2], ROWS[0]]


@pytest.mark.parametrize("rows", [[2, 0], [1], [0, 0, 1], []])
def test_rows_are_taken_with_their_windows_in_the_order_given(rows: list[int]) -> None:
    taken = features().take_rows(np.array(rows, np.int64))
    assert listed(taken) == [ROWS[row] for row in rows]
    assert taken.table["id"].to_pylist() == ["abc"[row] for row in rows]
    assert taken.row_of.tolist() == sorted(taken.row_of.tolist())
    for index in range(len(taken)):
        assert taken.by_sequence["span"][index][0] == rows[taken.row_of[index]]
        assert taken.of_token("offsets", index)[:, 0].tolist() == (10 * taken.sequence(index)).tolist()


def test_strings_are_those_of_the_sequences_rows() -> None:
    assert features().strings("id", [5, 2, 0, 1]) == ["c", "b", "a", "a"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_stands_on_its_side_and_the_mask_knows_it(side: str) -> None:
    pieces = [np.array([4, 5, 6]), np.array([], np.int64), np.array([7])]
    found = tokens_and_mask(pieces, 9, side)
    right = side == "right"
    assert found["input_ids"].tolist() == [[4, 5, 6], [9, 9, 9], [7, 9, 9] if right else [9, 9, 7]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0] if right else [0, 0, 1]]
    assert pad([np.array([], np.int64)], 3).tolist() == [[3]]
