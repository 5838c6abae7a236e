"""Records are whole or not there: two writers at once, a full disk at any point, a writer killed at any moment."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from written import RECORD, contents, write_files

from flare_ray.store import Damaged, Store, StoreFull, open_store
from flare_ray.store.garbage import garbage, remove
from flare_ray.store.integrity import verify
from flare_ray.store.inventory import Inventory


def letters(folder: Path) -> set[bytes]:
    return {content[:1] for name, content in contents(folder).items() if name != "record.json"}


def test_the_first_of_two_writers_is_kept_and_the_second_is_told(store: Store, tmp_path: Path) -> None:
    first = store.write("runs", "f1", {"by": "a"}, write_files(tmp_path / "a-files", "a"))
    store.write_failure("f1", {"error": "of the second writer's attempt before"})
    second = store.write("runs", "f1", {"by": "b"}, write_files(tmp_path / "b-files", "b"))
    assert (first, second) == (True, False)
    assert store.record("runs", "f1") == {"by": "a"}
    assert letters(store.folder("runs", "f1")) == {b"a"}
    assert store.failure("f1") is None
    assert sum(info.bytes for place, info in store.files.find().items() if place.endswith(".bin")) == 6000


def test_of_writers_at_once_one_is_kept_whole(store: Store, tmp_path: Path) -> None:
    made = {letter: write_files(tmp_path / f"{letter}-files", letter) for letter in "abcd"}
    for name in map(str, range(8)):
        won: list[str] = []
        start = threading.Barrier(len(made))

        def write(
            letter: str, name: str = name, won: list[str] = won, start: threading.Barrier = start
        ) -> None:
            start.wait()
            if store.write("runs", name, {"by": letter}, made[letter]):
                won.append(letter)

        threads = [threading.Thread(target=write, args=(letter,)) for letter in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = store.record("runs", name)["by"]
        assert letters(store.folder("runs", name)) == {kept.encode()}
        assert kept in won
        if store.local:
            assert won == [kept]
    assert verify(store).findings == ()


def test_a_second_writer_does_not_see_the_first_until_it_is_whole(local: Store, tmp_path: Path) -> None:
    """The slow one of two loses at the very end, and leaves nothing."""
    rename, late = os.rename, []

    def slow_rename(source: str, target: str) -> None:
        if not late:
            late.append(True)
            assert local.write("runs", "f1", {"by": "fast"}, write_files(tmp_path / "fast", "f"))
        rename(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", slow_rename)
        assert not local.write("runs", "f1", {"by": "slow"}, write_files(tmp_path / "slow", "s"))
    assert letters(local.folder("runs", "f1")) == {b"f"}
    assert local.files.find(".unfinished") == {}


def test_a_put_that_fails_leaves_nothing(store: Store, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = store.files.put, []

    def failing(file: Path, place: str) -> tuple[int, str]:
        calls.append(place)
        if len(calls) == 2:
            raise PermissionError("denied")
        return put(file, place)

    monkeypatch.setattr(store.files, "put", failing)
    with pytest.raises(PermissionError):
        store.write("runs", "f1", RECORD, files)
    assert store.files.find().keys() == {".store", ".writable"}


def test_records_without_a_manifest_stay_readable(store: Store, files: Path) -> None:
    store.write_text("runs/old/record.json", '{"fingerprint": "old", "label": "of an earlier version"}')
    store.write_text("runs/old/adapter/weights.txt", "w")
    assert store.finished("runs") == {"old"}
    assert store.record("runs", "old") == {"fingerprint": "old", "label": "of an earlier version"}
    assert contents(store.folder("runs", "old"))["adapter/weights.txt"] == b"w"
    assert not store.write("runs", "old", RECORD, files)
    assert verify(store).findings == ()


def test_a_copy_of_an_object_store_is_read_from_a_folder(files: Path, tmp_path: Path) -> None:
    remote = open_store("memory://copied/store")
    remote.write("runs", "f1", RECORD, files)
    for place in remote.files.find("runs"):
        remote.files.fetch(f"runs/{place}", tmp_path / "copy" / "runs" / place)
    copy = Store(str(tmp_path / "copy"))
    assert copy.record("runs", "f1") == RECORD
    found = contents(copy.folder("runs", "f1"))
    assert {name: found[name] for name in contents(files)} == contents(files)


def test_a_cached_copy_is_checked_when_it_is_made(files: Path) -> None:
    remote = open_store("memory://damaged/store")
    remote.write("runs", "f1", RECORD, files)
    (place,) = [place for place in remote.files.find() if place.endswith("weights.bin")]
    remote.write_bytes(place, bytes(256))
    with pytest.raises(Damaged, match=r"weights\.bin is not what was written"):
        remote.folder("runs", "f1")


def test_a_record_keeps_what_json_keeps(store: Store) -> None:
    """Broken text in a prediction's label, numbers that are none, keys that are no strings."""
    store.write("runs", "f1", {"text": "half \ud83d", "loss": float("inf"), "by_seed": {1: 2}})
    assert store.record("runs", "f1") == {"text": "half \ud83d", "loss": float("inf"), "by_seed": {"1": 2}}
    assert verify(store).findings == ()
    with pytest.raises(ValueError, match="manifest"):
        store.write("runs", "f2", {"manifest": []})


@pytest.mark.parametrize("step", range(4))
def test_a_write_that_finds_no_space_leaves_nothing(
    local: Store, files: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files and the record, whichever does not fit; with the last step everything does."""
    fsync, calls = os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) == step + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    if step < 3:
        with pytest.raises(StoreFull, match=r"runs/f1; [\d,]+ bytes are free there"):
            local.write("runs", "f1", RECORD, files)
        assert local.files.find().keys() == {".store", ".writable"}
    else:
        assert local.write("runs", "f1", RECORD, files)
    assert verify(local).findings == ()


def test_a_disk_that_is_full_at_any_byte_shows_no_half_record(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(str(small_disk / "store"))
    made = write_files(tmp_path / "files", "a", size=20_000)
    refused = kept = 0
    for pages in range(0, 40):
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"")
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(max(0, free.f_bavail - pages) * free.f_bsize))
        try:
            kept += store.write("runs", str(pages), RECORD, made)
        except StoreFull:
            refused += 1
            assert not store.has("runs", str(pages))
        ballast.unlink()
        assert store.files.find(".unfinished") == {}
        store.remove("runs")
    assert refused > 5
    assert kept > 5


CHILD = """
import random, sys
from pathlib import Path
from flare_ray.store import Store
store, scratch, start = Store(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
(scratch / "deep").mkdir(parents=True, exist_ok=True)
print("ready", flush=True)
for number in range(start, start + 100_000):
    for name in ("a.bin", "deep/b.bin"):
        (scratch / name).write_bytes(random.randbytes(random.randrange(1, 200_000)))
    store.write_failure(str(number), {"error": "before"})
    store.write("runs", str(number), {"number": number, "history": list(range(random.randrange(5000)))}, scratch)
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_only_whole_records(local: Store, tmp_path: Path) -> None:
    for kill in range(8):
        command = [sys.executable, "-c", CHILD, local.url, str(tmp_path / "scratch"), str(kill * 100_000)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        time.sleep(random.uniform(0.05, 0.6))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    finished = local.finished("runs")
    assert len(finished) > 20
    assert verify(local).findings == ()
    for name in finished:
        assert local.record("runs", name)["number"] == int(name)
    remove(local, garbage(local, Inventory.of(local), age=-1))
    left = Inventory.of(local)
    assert left.entries(".unfinished") == []
    assert {entry.name for entry in left.entries("runs")} == finished
    assert verify(local).findings == ()
