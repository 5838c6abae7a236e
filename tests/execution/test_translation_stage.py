"""The translation stage of a trial: what it tells the driver and the store about splits that failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError, Problem
from flare_ray.execution import translating
from flare_ray.plan.corpora import Corpus, corpus
from flare_ray.plan.schema import Resources, Translation
from flare_ray.plan.wire import corpus_to_dict
from flare_ray.store import Store
from flare_ray.translation import worklist
from flare_ray.translation.memory import Pair
from flare_ray.translation.stage import Here


@pytest.fixture
def corpora(small_sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Corpus]:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    translation = Translation(model=str(small_sandbox / "models" / "sandbox-nllb"), max_length=24)
    data = str(small_sandbox / "data" / "xnli")
    return [corpus("xnli", data, "qal", split, translation) for split in ("validation", "test")]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the trial reports, without a Tune around it."""
    from ray import tune

    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", found.append)
    return found


def config_of(store: Store, corpora: list[Corpus], **rest: Any) -> dict[str, Any]:
    stage = {"kind": "translation", "key": "translation-1", "corpora": list(map(corpus_to_dict, corpora))}
    return {
        "storage": store.url,
        "provenance": {},
        "resources": Resources().model_dump(),
        "stage": stage,
        **rest,
    }


def test_a_split_that_cannot_be_translated_is_charged_alone(
    corpora: list[Corpus], reports: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, broken = Store(str(tmp_path / "store")), corpora[0].translator_key

    def pool(self: Any, pair: Pair, *rest: Any) -> None:
        if pair == Pair(broken, "eng", "qal"):
            raise InputError("cannot translate", [Problem("rows", "none", "some")])
        Here(store)(pair, *rest)

    monkeypatch.setattr(translating.RayPool, "__call__", pool)
    translating.run_translation(config_of(store, corpora))
    assert [store.has("corpora", one.fingerprint) for one in corpora] == [False, True]
    failure = store.failure(corpora[0].fingerprint)
    assert failure
    assert failure["kind"] == "input"
    assert not store.failure(corpora[1].fingerprint)
    told = [(event["event"], event["fingerprint"]) for event in reports]
    assert told == [
        ("started", corpora[0].fingerprint),
        ("failed", corpora[0].fingerprint),
        ("finished", corpora[1].fingerprint),
    ]


@pytest.fixture
def own_ray() -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_stage_that_is_told_to_stop_leaves_with_what_it_has(
    corpora: list[Corpus],
    reports: list[dict[str, Any]],
    own_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    from flare_ray.execution.desk import Desk

    monkeypatch.setattr(worklist, "CHUNK", 24)
    store, desk = Store(str(tmp_path / "store")), Desk()
    shards = store.url + f"/translations/{corpora[0].translator_key}/eng-qal"

    def stop() -> None:
        while not list(Path(shards).glob("*.parquet")):
            time.sleep(0.02)
        desk.close()

    def report(event: dict[str, Any]) -> None:
        reports.append(event)
        if event["event"] == "pool":
            desk.answer(event["question"], min(2, event["wanted"]))

    monkeypatch.setattr("ray.tune.report", report)
    threading.Thread(target=stop, daemon=True).start()
    resources = Resources(translation_tokens=16, translation_saved_every=0.01).model_dump()
    translating.run_translation(config_of(store, corpora, desk=desk.name, resources=resources))
    assert list(Path(shards).glob("*.parquet")), "what was translated is kept"
    assert not store.finished("corpora")
    assert not any(store.failure(one.fingerprint) for one in corpora)
    assert "failed" not in {event["event"] for event in reports}
    until = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < until:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2, "its translators are gone"
