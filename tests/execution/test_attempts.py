"""What got further since its last failure has used none of its attempts: runs, base models and translations alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution.attempts import Attempts
from flare_ray.execution.outcomes import Outcomes
from flare_ray.execution.retries import Failure, Retries
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.store import Store
from flare_ray.store.manifest import CHECKPOINT
from flare_ray.translation.corpus import pair
from flare_ray.translation.memory import Entry, write_shard
from tests.execution.test_board import base_of, corpora_of, run_of

DEATH = Failure("lost", "the node is gone")
BASE = base_of(0)
WORKS = [run_of(BASE, 0), BASE, corpora_of(0)[0]]


def get_on(store: Store, work: Run | Base | Corpus, step: int) -> None:
    """What a worker leaves that got further: the next checkpoint in the place of the last, or another shard."""
    if isinstance(work, Corpus):
        write_shard(store, pair(work), "chunk", [Entry(f"text {step}", "translation")])
        return
    place = f"checkpoints/{work.fingerprint}"
    store.remove(place)
    store.write_text(f"{place}/{step}/{CHECKPOINT}", "{}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.mark.parametrize("work", WORKS, ids=["run", "base", "corpus"])
def test_work_that_gets_further_is_not_given_up(store: Store, work: Any) -> None:
    attempts = Attempts(Outcomes(store, {}, lambda event: None), Retries(max_attempts=3))
    for step in range(1, 10):
        get_on(store, work, step)
        assert attempts.verdict(work, DEATH, stopping=False)[0] == 0.0
    assert attempts.verdict(work, DEATH, stopping=False)[0] == 0.0
    assert attempts.verdict(work, DEATH, stopping=False)[0] is None, "three times at the same place"
    assert store.failure(work.fingerprint)


@pytest.mark.parametrize("work", WORKS, ids=["run", "base", "corpus"])
def test_work_that_gets_no_further_is_given_up(store: Store, work: Any) -> None:
    attempts = Attempts(Outcomes(store, {}, lambda event: None), Retries(max_attempts=3))
    found = [attempts.verdict(work, DEATH, stopping=False)[0] for _ in range(3)]
    assert found == [0.0, 0.0, None]
