import numpy as np
import pytest
import torch

from flare_ray.training.sources import SourceCache, States

LAYERS, D = 3, 4


def state(sequence: int, length: int, stack: int) -> torch.Tensor:
    """States that tell stack, sequence, token, layer and column: [m, layers, d]."""
    grid = torch.arange(length)[:, None, None] + torch.arange(LAYERS)[None, :, None] / 10
    return 1000 * stack + 100 * sequence + grid + torch.arange(D) / 100


def compute(lengths: np.ndarray, stacks: int = 1):
    """The states of sequences of these lengths, asked for by number."""

    def states(chosen: list[int]) -> list[States]:
        return [tuple(state(k, int(lengths[k]), s) for s in range(stacks)) for k in chosen]

    return states


def get(cache: SourceCache, key: str, *lengths: int) -> object:
    sizes = np.array(lengths)
    return cache.get((key,), list(range(len(sizes))), sizes, compute(sizes))


@pytest.mark.parametrize("stacks", [1, 2])
def test_padded_states_are_the_real_tokens_states_in_any_order(stacks: int) -> None:
    lengths = np.array([3, 1, 5] * 30)
    needed = list(range(10, 80))
    states = SourceCache(1e9).get(("k",), needed, lengths[needed], compute(lengths, stacks))
    assert states is not None
    chosen = [40, 13, 11, 79, 40]
    found, mask = states.padded(chosen)
    assert len(found) == stacks
    assert mask.sum(1).tolist() == lengths[chosen].tolist()
    for number, stack in enumerate(found):
        assert stack.shape == (5, LAYERS, 5, D)
        for row, k in enumerate(chosen):
            expected = state(k, int(lengths[k]), number).transpose(0, 1)
            assert torch.equal(stack[row, :, : lengths[k]], expected)
            assert not stack[row, :, lengths[k] :].any()


def test_computed_once_while_it_fits_and_least_recently_used_goes_first() -> None:
    cache = SourceCache(2 * 4 * LAYERS * D * 10)
    for key in "121":
        get(cache, key, *{"1": [10], "2": [4, 6]}[key])
    assert cache.computed == 2
    get(cache, "3", 5, 5)  # pushes "2" out
    get(cache, "1", 10)
    assert cache.computed == 3
    get(cache, "2", 4, 6)
    assert cache.computed == 4


def test_a_split_larger_than_the_budget_is_not_kept_whatever_else_is() -> None:
    cache = SourceCache(4 * LAYERS * D * 9)
    assert get(cache, "small", 9) is not None
    assert get(cache, "large", 10) is None
    assert get(cache, "small", 9) is not None
    assert cache.computed == 1


def test_too_large_is_found_out_after_one_pass() -> None:
    asked: list[int] = []
    lengths = np.full(1000, 5)

    def counted(chosen: list[int]) -> list[States]:
        asked.extend(chosen)
        return compute(lengths)(chosen)

    assert SourceCache(4 * LAYERS * D * 100).get(("k",), list(range(1000)), lengths, counted) is None
    assert len(asked) < 100
