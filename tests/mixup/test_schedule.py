"""Scheduled sampling: its probability by hand, its statistics, and what is read."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from flare_ray.mixup import gold_probability
from flare_ray.mixup.schedule import draw_gold

from .conftest import batch, mixup, text


@pytest.mark.parametrize("k", [1000.0, 2000.0, 3.0])
@pytest.mark.parametrize("step", [0, 1, 500, 6907, 7000, 20000])
def test_probability_by_hand(step: int, k: float) -> None:
    if step / k < 700:  # where e^{step/k} is a number
        assert gold_probability(step, k) == pytest.approx(k / (k + math.exp(step / k)), rel=1e-12)


def test_probability_is_bounded_and_falls() -> None:
    assert gold_probability(0, 1000) == pytest.approx(1000 / 1001)
    assert gold_probability(10**12, 1000) == 0
    values = [gold_probability(step, 1000) for step in range(0, 20000, 100)]
    assert all(a > b for a, b in pairwise(values))
    with pytest.raises(ValueError, match="step"):
        gold_probability(-1, 1000)


def test_statistics_of_the_draws() -> None:
    torch.manual_seed(3)
    step = 7500
    drawn = [draw_gold(step, 1000) for _ in range(4000)]
    p = gold_probability(step, 1000)
    assert sum(drawn) / 4000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 4000))
    torch.manual_seed(3)
    assert [draw_gold(step, 1000) for _ in range(4000)] == drawn


def test_what_is_read() -> None:
    model, inputs = mixup("xlmr"), batch("xlmr")
    other = text((5, 4, 8), 9)
    with torch.no_grad():
        gold = model(**inputs).loss
        back = model(**inputs | {"source": other}).loss
        call = inputs | {"back_translation": other}
        assert model(**call).loss == gold, "at test the source is the one that is given"
        for module in model.modules():  # training, without dropout's noise
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        early, late = model(**call, step=0), model(**call, step=10**9)
    assert early.gold is True
    assert late.gold is False
    torch.testing.assert_close(early.loss, gold)
    torch.testing.assert_close(late.loss, back)


def test_k_of_the_task() -> None:
    assert mixup("xlmr").mixup_config.sampling_k == 1000
    assert mixup("xlmr_qa").mixup_config.sampling_k == 2000
    assert mixup("xlmr", sampling_k=7.0).mixup_config.sampling_k == 7
