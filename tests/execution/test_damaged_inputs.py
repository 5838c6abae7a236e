"""A worker uses no damaged base model or translation: the base is trained again, the run is retried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution.desk import Errand
from flare_ray.execution.retries import CURABLE, kind_of
from flare_ray.execution.worker import StageWorker
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.schema import Resources
from flare_ray.plan.wire import base_to_dict
from flare_ray.store import Damaged, Store, open_store
from flare_ray.training.engine import Group
from tests.execution.test_storage_gone import Reports
from tests.small_study import write_study, write_sweep

FACTS = {"cost": {"train_seconds": 1.0}, "metrics": {"macro_f1": 50.0}, "provenance": {}}
WEIGHTS = bytes(range(256)) * 160


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "results"))


@pytest.fixture
def worker(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageWorker:
    """At a pack without runs, whose base model is stored. Training a base writes the same weights once more."""
    base = expand(load_sweep(write_sweep(tmp_path / "small.yaml", write_study(tmp_path)))).bases[0]
    config = {"storage": store.url, "provenance": {}, "resources": Resources().model_dump()}
    stage = {"kind": "pack", "key": "pack-1", "first": False, "base": base_to_dict(base), "runs": []}

    def train_base(bench: Any, settings: Any, seed: int, out: Path, keeper: Any) -> dict[str, Any]:
        (out / "model.safetensors").write_bytes(WEIGHTS)
        return dict(FACTS)

    monkeypatch.setattr("flare_ray.execution.worker.train_base", train_base)
    monkeypatch.setattr(StageWorker, "_workbench", lambda self, checkpoint: checkpoint)
    reports: Any = Reports()
    made = StageWorker(config, stage, Group(), Errand(None), reports)
    made.base_model()
    reports.events.clear()
    return made


def test_a_damaged_base_model_is_trained_again_where_it_is_needed(worker: StageWorker, store: Store) -> None:
    folder = worker._sound_base()
    (folder / "model.safetensors").write_bytes(bytes(len(WEIGHTS)))
    assert worker._sound_base() == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(store.names("quarantine/bases")) == 1
    events = worker.reports.events  # type: ignore[attr-defined]
    assert [event["event"] for event in events] == ["started", "finished"]
    assert worker._sound_base() == folder
    assert len(events) == 2


def test_a_sound_base_model_is_used_as_it_is(worker: StageWorker, store: Store) -> None:
    worker.pack()
    assert worker.reports.events == []  # type: ignore[attr-defined]
    assert store.names("quarantine") == []


def test_a_damaged_translation_is_put_away_and_its_run_is_tried_again(
    worker: StageWorker, store: Store, tmp_path: Path
) -> None:
    corpus = "c" * 20
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "rows.parquet").write_bytes(b"rows")
    store.write("corpora", corpus, {"fingerprint": corpus}, tmp_path / "made")
    assert (worker._sound_corpus(corpus) / "rows.parquet").read_bytes() == b"rows"
    Path(store.root, "corpora", corpus, "rows.parquet").write_bytes(b"ROWS")
    with pytest.raises(Damaged) as found:
        worker._sound_corpus(corpus)
    assert kind_of(found.value) in CURABLE
    assert store.finished("corpora") == set()
    assert len(store.names("quarantine/corpora")) == 1
