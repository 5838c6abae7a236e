import numpy as np
import pytest

from flare_ray.training.batches import accumulation, epoch_batches, evaluation_rows, micro_batches


def varied(rows: int) -> np.ndarray:
    """Lengths with a long tail, as texts have them."""
    return np.random.default_rng(7).integers(3, 12, rows) ** 2


@pytest.mark.parametrize(("rows", "size"), [(1, 4), (10, 4), (12, 4), (500, 64), (5000, 16)])
def test_every_sequence_comes_once_an_epoch(rows: int, size: int) -> None:
    batches = epoch_batches(varied(rows), size, seed=3, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert len(batches) == -(-rows // size), "as many steps as the schedule counts"
    assert all(len(batch) <= size for batch in batches)


def test_the_order_depends_on_lengths_seed_and_epoch_and_nothing_else() -> None:
    def order(seed: int, epoch: int, lengths: np.ndarray) -> list[int]:
        return np.concatenate(epoch_batches(lengths, 8, seed, epoch)).tolist()

    lengths = varied(500)
    first = order(1, 1, lengths)
    np.random.seed(99)
    np.random.random(5)
    assert order(1, 1, lengths.copy()) == first
    assert order(1, 2, lengths) != first
    assert order(2, 1, lengths) != first
    assert order(1, 1, lengths[::-1]) != first


@pytest.mark.parametrize("rows", [400, 5000])
def test_less_is_padded_than_in_shuffled_batches(rows: int) -> None:
    lengths = varied(rows)

    def padding(batches: list[np.ndarray]) -> int:
        return sum(int(lengths[b].max() * len(b) - lengths[b].sum()) for b in batches)

    shuffled = np.random.default_rng(0).permutation(rows)
    plain = [shuffled[k : k + 16] for k in range(0, rows, 16)]
    assert padding(epoch_batches(lengths, 16, 1, 1)) < 0.8 * padding(plain)


def test_a_small_corpus_is_not_simply_sorted() -> None:
    """Where an epoch is one pool, sequences of one length would meet in every epoch."""
    lengths = np.arange(64)
    partners = [{frozenset(b.tolist()) for b in epoch_batches(lengths, 4, 1, epoch)} for epoch in (1, 2)]
    assert len(partners[0] & partners[1]) < 4


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 1, 5, 7])
@pytest.mark.parametrize("rows", [1, 2, 9, 16])
def test_weighted_micro_batches_average_to_the_batch_mean(workers: int, micro: int | None, rows: int) -> None:
    """Over terms, of which a sequence may have several (answer tokens); chunks without a sequence weigh nothing."""
    draw = np.random.default_rng(0)
    items = draw.integers(1, 9, 100)
    sums = draw.normal(size=100) * items
    batch = np.arange(40, 40 + rows)
    passes = accumulation(16, workers, micro)
    parts = [micro_batches(batch, items, workers, worker, passes) for worker in range(workers)]
    assert {len(part) for part in parts} == {passes}, "every worker passes as often as the others"
    every = [m for part in parts for m in part]
    mean = np.mean([m.weight * sums[m.rows].sum() / items[m.rows].sum() for m in every])
    assert mean == pytest.approx(sums[batch].sum() / items[batch].sum(), rel=1e-12)
    assert sorted(row for m in every if m.weight for row in m.rows) == batch.tolist()
    assert all(m.rows for m in every), "an empty chunk passes a row all the same"
    if micro:
        assert max(len(m.rows) for m in every) <= micro


@pytest.mark.parametrize(("rows", "workers"), [(7, 1), (7, 2), (8, 3), (1, 4)])
def test_evaluation_covers_every_sequence_with_equal_shares(rows: int, workers: int) -> None:
    lengths = varied(rows)
    shares = [evaluation_rows(lengths, workers, worker) for worker in range(workers)]
    assert len({len(share) for share in shares}) == 1
    assert set().union(*shares) == set(range(rows))
    assert all((np.diff(lengths[share]) <= 0).all() for share in shares), "the longest first"
