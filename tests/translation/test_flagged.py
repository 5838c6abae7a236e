"""Suspicious translations are counted when a split is put together; a sample of it is translated back."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flare_ray.plan.corpora import Corpus, corpus
from flare_ray.plan.schema import Translation
from flare_ray.store import Store
from flare_ray.tracking.views import corpus_view
from flare_ray.translation import translator
from flare_ray.translation.backends.base import Translated
from flare_ray.translation.files import translate_file
from flare_ray.translation.memory import Entry, Pair, write_shard
from flare_ray.translation.stage import Here, build
from flare_ray.translation.worklist import read_chunk

SIX = (
    "The room was clean. The staff were kind. Breakfast was late. The pool was closed. We left. Nobody came."
)
MADE = {
    SIX: "Kamare bereseh.",
    "Ok.": "Nyoe haba panyang nyang hana meutuleh bak teumpat laen, ngon lom haba nyang laen.",
    "The food was cold and the waiter did not care.": ", " * 40,
    "The view was wonderful and the staff were kind.": "Вид был прекрасный, и персонал был добрый.",
    "We will come again next year with the children.": "Kamoe meuwoe lom thon ukeu ngon aneuk-aneuk.",
}


class Scripted:
    """A pool that makes translations written beforehand; unknown texts stay as they are."""

    def __init__(self, store: Store, made: dict[str, str]):
        self.store, self.made, self.pairs = store, made, list[Pair]()

    def __call__(self, pair: Pair, settings: dict[str, Any], places: list[str], missing: int) -> None:
        self.pairs.append(pair)
        for place in places:
            chunk = read_chunk(self.store, place)
            entries = [Entry(text, self.made.get(text, text), 1) for text in chunk.texts]
            write_shard(self.store, pair, chunk.name, entries)


@pytest.fixture
def nusax(tmp_path: Path, settings: dict[str, Any]) -> Callable[..., Corpus]:
    """A NusaX folder with a training row for each of MADE."""

    def make(**section: Any) -> Corpus:
        for language in ("english", "acehnese"):
            folder = tmp_path / "nusax" / language
            folder.mkdir(parents=True, exist_ok=True)
            for split in ("train", "valid", "test"):
                with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
                    rows = csv.writer(stream)
                    rows.writerow(["id", "text", "label"])
                    rows.writerows([number, text, "positive"] for number, text in enumerate(MADE))
        translation = Translation(model=settings["checkpoint"], **section)
        return corpus("nusax", str(tmp_path / "nusax"), "ace", "train", translation)

    return make


def test_omissions_inventions_loops_and_scripts_are_counted(
    store: Store, nusax: Callable[..., Corpus]
) -> None:
    one = nusax()
    build(store, [one], Scripted(store, MADE))
    record = store.record("corpora", one.fingerprint)
    expected = {"empty": 0, "repetition": 1, "truncated": 0, "script": 1, "long": 1, "copy": 0}
    assert {flag: record["flagged"][flag] for flag in expected} == expected
    assert record["flagged"]["short"] == 2  # the omission, and the loop
    assert record["flagged"]["sentences"] == 1
    assert record["usable"] == len(MADE), "flags lose no row"
    metrics = {name: value for name, value, _ in corpus_view(record).metrics}
    assert (metrics["flagged_long"], metrics["length_ratio"]) == (1, record["length_ratio"]["ratio"])


def test_a_record_of_an_earlier_version_is_still_shown(store: Store, nusax: Callable[..., Corpus]) -> None:
    one = nusax()
    build(store, [one], Scripted(store, MADE))
    record = dict(store.record("corpora", one.fingerprint))
    del record["length_ratio"]
    record["flagged"] = {"empty": 0, "repetition": 0, "truncated": 0, "copy": 2}
    metrics = {name: value for name, value, _ in corpus_view(record).metrics}
    assert metrics["flagged_copy"] == 2
    assert "length_ratio" not in metrics


def test_a_sample_is_translated_back(store: Store, nusax: Callable[..., Corpus]) -> None:
    one = nusax(round_trip=3)
    assert one.fingerprint == nusax().fingerprint
    pool = Scripted(store, {**MADE, **{translation: text for text, translation in MADE.items()}})
    build(store, [one], pool)
    record = store.record("corpora", one.fingerprint)
    assert [(pair.source, pair.target) for pair in pool.pairs] == [("eng", "ace"), ("ace", "eng")]
    assert record["round_trip"]["rows"] == 3
    assert record["round_trip"]["chrf"] == pytest.approx(100)
    metrics = {name: value for name, value, _ in corpus_view(record).metrics}
    assert metrics["round_trip_chrf"] == pytest.approx(100)


def test_a_translator_without_a_way_back_makes_its_split(store: Store, nusax: Callable[..., Corpus]) -> None:
    one, pool = nusax(round_trip=3), Scripted(store, MADE)

    def one_way(pair: Pair, settings: dict[str, Any], places: list[str], missing: int) -> None:
        if pair.target != "ace":
            raise ValueError("a model of one direction")
        pool(pair, settings, places, missing)

    build(store, [one], one_way)
    record = store.record("corpora", one.fingerprint)
    assert record["usable"] == len(MADE)
    assert "round_trip" not in record


def test_a_table_of_ones_own_is_counted_too(store: Store, settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text"])
        rows.writerows([text] for text in MADE)
    pool = Scripted(store, MADE)
    counts = translate_file(
        store, file, ["text"], Pair("5" * 20, "eng", "ace"), settings, tmp_path / "out.csv", pool
    )
    assert counts["flagged"] == {"repetition": 1, "script": 1, "short": 2, "long": 1, "sentences": 1}


class Words:
    """A backend that notes what it is given, and leaves out all but the first sentence of it."""

    limit = max_length = 10_000

    def __init__(self) -> None:
        self.given: list[str] = []

    def lengths(self, texts: Sequence[str], language: str) -> list[int]:
        return [len(text.split()) for text in texts]

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translated]:
        self.given += texts
        return [Translated(text.partition(".")[0].upper() + ".", 1, False) for text in texts]


def test_no_sentence_is_left_out_when_each_is_translated_alone(
    store: Store, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Words()
    monkeypatch.setattr("flare_ray.translation.backends.base.load", lambda *_: backend)
    pair = Pair("5" * 20, "eng", "ace")
    (whole,) = translator.Translator(store, pair, settings).entries([SIX])
    assert (whole.translation, backend.given) == ("THE ROOM WAS CLEAN.", [SIX])
    backend.given.clear()
    (split,) = translator.Translator(store, pair, {**settings, "split": "sentence"}).entries([SIX])
    assert split.translation == SIX.upper()
    assert len(backend.given) == 6


def test_a_real_translator_splits(store: Store, nusax: Callable[..., Corpus], small_sandbox: Path) -> None:
    data = str(small_sandbox / "data" / "tydiqa")
    model = str(small_sandbox / "models" / "sandbox-nllb")
    alone, whole = (
        corpus("tydiqa", data, "qal", "validation", Translation(model=model, max_length=48, split=split))
        for split in ("sentence", "none")
    )
    assert alone.fingerprint != whole.fingerprint
    build(store, [alone], Here(store))
    record = store.record("corpora", alone.fingerprint)
    assert record["rows"] == record["usable"] + sum(record["failed"].values())
    assert record["translator"]["split"] == "sentence"
