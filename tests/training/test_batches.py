import numpy as np
import pytest

from flare_ray.training.batches import accumulation, epoch_batches, evaluation_rows, micro_batches


@pytest.mark.parametrize(("rows", "size"), [(1, 4), (10, 4), (12, 4), (500, 64)])
def test_every_row_comes_once_an_epoch(rows: int, size: int) -> None:
    batches = epoch_batches(rows, size, seed=3, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert all(len(batch) <= size for batch in batches)


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(50, 8, seed, epoch)).tolist()

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 1, 5, 7])
@pytest.mark.parametrize("rows", [1, 2, 9, 16])
def test_weighted_micro_batches_average_to_the_batch_mean(workers: int, micro: int | None, rows: int) -> None:
    values = np.random.default_rng(0).normal(size=100)
    batch = np.arange(40, 40 + rows)
    passes = accumulation(16, workers, micro)
    parts = [micro_batches(batch, workers, worker, passes) for worker in range(workers)]
    assert {len(part) for part in parts} == {passes}, "every worker passes as often as the others"
    mean = np.mean([m.weight * values[m.rows].mean() for part in parts for m in part])
    assert mean == pytest.approx(values[batch].mean(), rel=1e-12)
    if micro:
        assert max(len(m.rows) for part in parts for m in part) <= micro


@pytest.mark.parametrize(("rows", "workers"), [(7, 1), (7, 2), (8, 3), (1, 4)])
def test_evaluation_covers_every_row_with_equal_shares(rows: int, workers: int) -> None:
    shares = [evaluation_rows(rows, workers, worker) for worker in range(workers)]
    assert len({len(share) for share in shares}) == 1
    assert set().union(*shares) == set(range(rows))
