import numpy as np
import pyarrow as pa

from flare_ray.forms._features import Builder, Features
from flare_ray.training.data import english_rows_of, pair


def features(ids: str, windows: list[int] | None = None, first: int = 1) -> Features:
    """Rows by id, each with some windows of one token: the row's place, and the window's number in hundreds."""
    builder = Builder()
    for row, count in enumerate(windows or [1] * len(ids)):
        for window in range(count):
            builder.add([first + row + 100 * window], {"labels": row}, row=row)
    return builder.finish(pa.table({"id": list(ids)}))


def met(target: Features, source: Features) -> list[tuple[str, int, str, int]]:
    """Which row and window stands beside which."""
    split = pair(target, source, "key")
    assert split.source is not None
    assert split.source_of is not None

    def name(of: Features, k: int) -> tuple[str, int]:
        return of.table["id"][int(of.row_of[k])].as_py(), int(of.sequence(k)[0]) // 100

    others = split.source_of.tolist()
    return [(*name(split.target, k), *name(split.source, j)) for k, j in enumerate(others)]


def test_pairing_is_by_id_whatever_the_order() -> None:
    assert met(features("cab"), features("abc")) == [("c", 0, "c", 0), ("a", 0, "a", 0), ("b", 0, "b", 0)]


def test_rows_without_english_are_left_out_and_counted() -> None:
    split = pair(features("xaybz"), features("bca"), "key")
    assert split.unpaired == 3
    assert split.target.table["id"].to_pylist() == ["a", "b"]
    assert split.target.tokens.tolist() == [2, 4]
    assert split.target.by_sequence["labels"].tolist() == [1, 3]
    assert split.target.row_of.tolist() == [0, 1]
    assert pair(features("ab"), features("ab")).unpaired == 0


def test_windows_meet_by_number_and_the_last_one_serves_for_the_surplus() -> None:
    found = met(features("abc", [3, 1, 2]), features("bca", [2, 1, 2]))
    assert found == [
        ("a", 0, "a", 0),
        ("a", 1, "a", 1),
        ("a", 2, "a", 1),
        ("b", 0, "b", 0),
        ("c", 0, "c", 0),
        ("c", 1, "c", 0),
    ]


def test_left_out_rows_take_their_windows_along() -> None:
    found = met(features("axb", [2, 3, 1]), features("ba", [2, 2]))
    assert found == [("a", 0, "a", 0), ("a", 1, "a", 1), ("b", 0, "b", 0)]


def test_every_target_sequence_comes_once() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        target = features("abcdef", draw.integers(1, 4, 6).tolist())
        source = features("".join(draw.permutation(list("abcdefgh"))), draw.integers(1, 4, 8).tolist())
        found = met(target, source)
        assert len({row[:2] for row in found}) == len(found) == len(target)
        assert all(row[0] == row[2] for row in found)


def test_english_rows_stand_in_the_targets_order() -> None:
    english, missing = english_rows_of(features("cxa"), features("abc", [1, 1, 2]))
    assert missing == 1
    assert english.table["id"].to_pylist() == ["c", "a"]
    assert english.tokens.tolist() == [3, 103, 1]
    assert english.row_of.tolist() == [0, 0, 1]
