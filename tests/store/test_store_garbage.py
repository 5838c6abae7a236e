"""gc removes what nobody needs, and nothing that is finished, needed, or may have a living writer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from written import RECORD, contents, key

from flare_ray.errors import InputError
from flare_ray.store import Store
from flare_ray.store.garbage import HOUR, Garbage, Needed, garbage, remove
from flare_ray.store.inventory import Inventory

B1, B2, R1, R2, R3, R9, C1, C2, T1, F1 = (
    key(word) for word in ("b1", "b2", "r1", "r2", "r3", "r9", "c1", "c2", "t1", "f1")
)
TOKEN = key("token", 32)


def found(store: Store, needed: Needed | None = None, age: float = -1) -> dict[str, str]:
    """Place and reason; with the default age everything counts as old."""
    return {one.place: one.reason for one in garbage(store, Inventory.of(store), needed, age)}


@pytest.fixture
def filled(store: Store, files: Path) -> Store:
    """r2 is a run that a search has made, from b2 and c1."""
    for kind, name in (
        ("bases", B1),
        ("bases", B2),
        ("runs", R1),
        ("corpora", C1),
        ("corpora", C2),
    ):
        store.write(kind, name, RECORD, files)
    made = {"provenance": {"sweep": "searching"}, "base": B2, "corpora": {"train": C1}}
    store.write("runs", R2, made, files)
    store.write_failure(R3, {"error": "x"})
    store.write_text(f"checkpoints/{R3}/10/state.bin", "unfinished run's")
    store.write_text(f"translations/{T1}/eng-ace/s.parquet", "t")
    store.write_text("reports/small/report.md", "#")
    return store


def test_a_tidy_store_has_no_garbage(filled: Store) -> None:
    assert found(filled) == {}


def test_left_overs_go(filled: Store) -> None:
    filled.write_failure(R1, {"error": "overtaken"})
    filled.write_text(f"checkpoints/{B1}/3/state.bin", "x")
    filled.write_text("ray/2026-01-01_00-00-00/tune/state.json", "x")
    filled.write_text(f"runs/{R9}/predictions.parquet", "half")
    filled.write_text(f"runs/{R1}/adapter/weights.bin.{TOKEN}.unfinished", "half")
    filled.write_text(f".unfinished/{TOKEN}/record.json", "{}")
    before = filled.finished("runs") | filled.finished("bases")
    expected = {
        f"failures/{R1}.json": "failure of finished work",
        f"checkpoints/{B1}": "checkpoint of finished work",
        "ray/2026-01-01_00-00-00": "Ray's files of an ended sweep",
        f"runs/{R9}": "unfinished",
        f"runs/{R1}/adapter/weights.bin.{TOKEN}.unfinished": "unfinished",
        f".unfinished/{TOKEN}": "unfinished",
    }
    assert found(filled) == expected
    remove(filled, garbage(filled, Inventory.of(filled), age=-1))
    assert found(filled) == {}
    assert filled.finished("runs") | filled.finished("bases") == before
    assert filled.failure(R3) is not None
    assert filled.names("checkpoints") == [R3]


def test_what_was_written_within_the_hour_may_have_a_writer(local: Store) -> None:
    places = (
        f".unfinished/{TOKEN}/weights.bin",
        f"runs/{R9}/predictions.parquet",
        "ray/2026-01-02_00-00-00/tune/state.json",
    )
    for place in places:
        local.write_text(place, "half")
    assert found(local, age=HOUR) == {}
    past = time.time() - HOUR - 5
    for place in places:
        os.utime(local.files.path(place), (past, past))
    assert set(found(local, age=HOUR)) == {f".unfinished/{TOKEN}", f"runs/{R9}", "ray/2026-01-02_00-00-00"}
    local.write_text(f".unfinished/{TOKEN}/more.bin", "still writing")
    assert f".unfinished/{TOKEN}" not in found(local, age=HOUR)


def test_a_writer_whose_scratch_is_removed_fails_and_shows_nothing(
    local: Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = local.files.put, []

    def slow(file: Path, place: str) -> tuple[int, str]:
        calls.append(place)
        if len(calls) == 2:
            remove(local, garbage(local, Inventory.of(local), age=-1))
        return put(file, place)

    monkeypatch.setattr(local.files, "put", slow)
    with pytest.raises(OSError, match="No such file"):
        local.write("runs", F1, RECORD, files)
    assert not local.has("runs", F1)
    assert found(local) == {}


def test_the_files_of_a_writer_that_lost_or_died_go_and_the_winners_stay(files: Path) -> None:
    store = Store("memory://strays/store")
    store.write("runs", R1, RECORD, files)
    winner = contents(store.folder("runs", R1))
    for token in ("0" * 32, "f" * 32):
        store.write_text(f"runs/{R1}/{token}/predictions.parquet", "of another writer")
    assert set(found(store)) == {f"runs/{R1}/{'0' * 32}", f"runs/{R1}/{'f' * 32}"}
    remove(store, garbage(store, Inventory.of(store), age=-1))
    assert found(store) == {}
    assert contents(Store("memory://strays/store").folder("runs", R1)) == winner


def test_with_sweeps_only_what_they_need_stays(filled: Store) -> None:
    needed = Needed(fingerprints={B1, R1, R3}, translators={T1})
    assert set(found(filled, needed)) == {f"bases/{B2}", f"runs/{R2}", f"corpora/{C1}", f"corpora/{C2}"}
    searching = Needed(fingerprints={R1}, searching={"searching"})
    expected = {
        f"bases/{B1}",
        f"corpora/{C2}",
        f"failures/{R3}.json",
        f"checkpoints/{R3}",
        f"translations/{T1}",
    }
    assert set(found(filled, searching)) == expected
    remove(filled, garbage(filled, Inventory.of(filled), searching, age=-1))
    assert (filled.finished("bases"), filled.finished("runs")) == ({B2}, {R1, R2})
    assert filled.names("reports") == ["small"]


def test_a_driver_at_work_keeps_what_it_may_need(filled: Store) -> None:
    filled.write_text("ray/2026-01-01_00-00-00/tune/state.json", "x")
    filled.write_failure(R1, {"error": "overtaken"})
    with filled.lease("another", settle=0):
        assert set(found(filled)) == {f"failures/{R1}.json"}
        with pytest.raises(InputError, match="works on another"):
            found(filled, Needed(fingerprints=set()))
    assert "ray/2026-01-01_00-00-00" in found(filled)


def test_what_goes_with_a_folder_is_not_listed_twice(local: Store) -> None:
    local.write_text(f"runs/{R9}/a.{TOKEN}.unfinished", "x")
    (one,) = garbage(local, Inventory.of(local), age=-1)
    assert one == Garbage(f"runs/{R9}", "unfinished", 1, is_file=False)


def test_the_checkpoint_of_damaged_work_stays(filled: Store) -> None:
    """The work is trained again, and its damaged record is replaced only when that has finished."""
    filled.write_text(f"checkpoints/{R1}/10/state.bin", "of the training that replaces the record")
    listed = garbage(filled, Inventory.of(filled), age=-1)
    assert [one.place for one in listed] == [f"checkpoints/{R1}"]
    filled.files.write(f"runs/{R1}/record.json", b"{")
    assert [why for _, why in remove(filled, listed).stays] == ["its work is not finished any more"]
    assert f"checkpoints/{R1}" not in found(filled)
    assert filled.files.exists(f"checkpoints/{R1}/10/state.bin")
