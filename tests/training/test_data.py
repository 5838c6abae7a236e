import numpy as np
import pyarrow as pa
import pytest

from flare_ray.training.data import Encoded, encode, pair


def encoded(*rows: list[int], ids: str = "abcdef") -> Encoded:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Encoded(
        tuple(ids[: len(rows)]),
        np.array([token for row in rows for token in row], np.int32),
        starts,
        np.arange(len(rows)),
    )


def test_padding_stands_right_and_is_as_long_as_the_longest_row_asked_for() -> None:
    rows = encoded([5], [6, 7, 8], [9, 9])
    input_ids, mask = rows.padded([2, 0], pad=1)
    assert input_ids.tolist() == [[9, 9], [5, 1]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_pairing_is_by_id_whatever_the_order() -> None:
    target = encoded([1], [2, 2], [3], ids="cab")
    source = encoded([10], [20, 20], [30], ids="abc")
    split = pair(target, source, "key")
    assert split.source is not None
    assert split.source.ids == target.ids
    assert split.source.padded([0, 1, 2], 0)[0].tolist() == [[30, 0], [10, 0], [20, 20]]


def test_a_target_row_without_its_english_is_an_error_that_names_it() -> None:
    with pytest.raises(KeyError, match="1 target rows without an English row, such as x"):
        pair(encoded([1], [2], ids="ax"), encoded([1], ids="a"), "key")


def test_encoding_cuts_to_the_length_and_keeps_ids_and_labels(small_sandbox: object) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(f"{small_sandbox}/models/sandbox-xlm-r")
    texts = ["the food was very good and the house was old"] * 1100 + ["good"]
    table = pa.table({"id": [str(k) for k in range(1101)], "text": texts, "label": [0] * 1100 + [2]})
    rows = encode(table, tokenizer, ["text"], 6)
    assert len(rows) == 1101
    assert rows.lengths.max() == 6
    assert rows.labels[-1] == 2
    assert rows.take([1100]).tokens.tolist() == tokenizer("good")["input_ids"]
