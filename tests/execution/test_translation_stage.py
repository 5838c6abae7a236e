"""The translation stage of a trial: what it tells the driver and the store about splits that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError, Problem
from flare_ray.execution import translating
from flare_ray.plan.corpora import Corpus, corpus
from flare_ray.plan.schema import Resources, Translation
from flare_ray.plan.wire import corpus_to_dict
from flare_ray.store import Store
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
