import numpy as np
import torch

from flare_ray.training.data import Encoded
from flare_ray.training.sources import SourceCache

LAYERS, D = 3, 4


def rows_of(*lengths: int) -> Encoded:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.arange(1, starts[-1] + 1, dtype=np.int32)
    return Encoded(tuple(map(str, range(len(lengths)))), tokens, starts, np.zeros(len(lengths), int))


def encode(input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """States that tell token, layer and column: [b, layers, m, d]."""
    base = input_ids.float()[:, None, :, None]
    return base + torch.arange(LAYERS)[None, :, None, None] / 10 + torch.arange(D) / 100


def test_padded_states_are_the_real_tokens_states_in_any_row_order() -> None:
    rows = rows_of(*([3, 1, 5] * 20))
    states = SourceCache(1e9).get(("k",), rows, 0, encode, "cpu")
    assert states is not None
    chosen = [40, 2, 0, 59]
    got, mask = states.padded(chosen)
    input_ids, expected_mask = rows.padded(chosen, 0)
    assert torch.equal(mask, expected_mask)
    expected = encode(input_ids, expected_mask) * expected_mask[:, None, :, None]
    torch.testing.assert_close(got, expected)


def test_computed_once_while_it_fits_and_least_recently_used_goes_first() -> None:
    size = 4 * LAYERS * D * 10
    cache = SourceCache(2 * size)
    one, two, three = rows_of(10), rows_of(4, 6), rows_of(5, 5)
    for key, rows in [("1", one), ("2", two), ("1", one)]:
        cache.get((key,), rows, 0, encode, "cpu")
    assert cache.computed == 2
    cache.get(("3",), three, 0, encode, "cpu")  # pushes "2" out
    cache.get(("1",), one, 0, encode, "cpu")
    assert cache.computed == 3
    cache.get(("2",), two, 0, encode, "cpu")
    assert cache.computed == 4


def test_a_split_larger_than_the_budget_is_not_kept_whatever_else_is() -> None:
    cache = SourceCache(4 * LAYERS * D * 9)
    assert cache.get(("small",), rows_of(9), 0, encode, "cpu") is not None
    assert cache.get(("large",), rows_of(10), 0, encode, "cpu") is None
    assert cache.get(("small",), rows_of(9), 0, encode, "cpu") is not None
    assert cache.computed == 1
