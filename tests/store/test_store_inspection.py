"""A record is believed only as it was written: place, checksum, files; a path in it leads nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written import RECORD, contents

from flare_ray.store import Damaged, Store
from flare_ray.store.manifest import as_json, parted, same_record
from flare_ray.store.paths import path_problem

A, B = "a" * 20, "b" * 20


@pytest.fixture
def two(local: Store, files: Path) -> Store:
    for name in (A, B):
        local.write("runs", name, RECORD | {"fingerprint": name}, files)
    return local


def place(store: Store, *parts: str) -> Path:
    return Path(store.root, "runs", *parts)


def rewrite(store: Store, name: str, change: Callable[[dict], None]) -> None:
    """A record changed by hand, its manifest as it was."""
    file = place(store, name, "record.json")
    value = json.loads(file.read_text())
    change(value)
    file.write_bytes(as_json(value))


def flip_score(store: Store) -> None:
    rewrite(store, A, lambda value: value["metrics"].update(macro_f1=81.25))


def swap(store: Store) -> None:
    place(store, A).rename(place(store, "c"))
    place(store, B).rename(place(store, A))
    place(store, "c").rename(place(store, B))


def copy_over(store: Store) -> None:
    shutil.rmtree(place(store, A))
    shutil.copytree(place(store, B), place(store, A))


def empty_object(store: Store) -> None:
    place(store, A, "record.json").write_text("{}")


def truncate(store: Store) -> None:
    file = place(store, A, "record.json")
    file.write_bytes(file.read_bytes()[:-20])


def folder_instead(store: Store) -> None:
    place(store, A, "record.json").unlink()
    place(store, A, "record.json").mkdir()


def pipe_instead(store: Store) -> None:
    place(store, A, "record.json").unlink()
    os.mkfifo(place(store, A, "record.json"))


def link_instead(store: Store) -> None:
    place(store, A, "record.json").unlink()
    place(store, A, "record.json").symlink_to(place(store, B, "record.json"))


def linked_folder(store: Store) -> None:
    place(store, A).rename(Path(store.root, "elsewhere"))
    place(store, A).symlink_to(Path(store.root, "elsewhere"))


def file_missing(store: Store) -> None:
    place(store, A, "predictions.parquet").unlink()


def file_shorter(store: Store) -> None:
    os.truncate(place(store, A, "adapter", "deep", "weights.bin"), 100)


def inner_link(store: Store) -> None:
    place(store, A, "adapter").rename(Path(store.root, "elsewhere"))
    place(store, A, "adapter").symlink_to(Path(store.root, "elsewhere"))


def no_files_listed(store: Store) -> None:
    rewrite(store, A, lambda value: value["manifest"].update(files="none"))


def file_in_its_place(store: Store) -> None:
    shutil.rmtree(place(store, A))
    place(store, A).write_text("a note")


DAMAGE = [
    flip_score,
    copy_over,
    empty_object,
    truncate,
    folder_instead,
    pipe_instead,
    link_instead,
    linked_folder,
    file_missing,
    file_shorter,
    inner_link,
    no_files_listed,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_work_is_not_finished_is_named_and_gives_way_to_new_work(
    two: Store, files: Path, damage: Callable[[Store], None]
) -> None:
    assert two.finished("runs") == {A, B}
    damage(two)
    for store in (two, Store(two.url)):  # one that had read it before, and one that had not
        assert store.finished("runs") == {B}
        assert list(store.damaged("runs")) == [A]
        assert not store.has("runs", A)
    before = contents(place(two, B))
    assert two.write("runs", A, RECORD | {"fingerprint": A, "by": "the second"}, files)
    assert Store(two.url).finished("runs") == {A, B}
    assert two.record("runs", A)["by"] == "the second"
    assert contents(place(two, B)) == before
    assert len(two.names("quarantine/runs")) == 1


def test_swapped_records_are_both_damaged(two: Store) -> None:
    swap(two)
    assert two.finished("runs") == set()
    assert sorted(two.damaged("runs")) == [A, B]
    with pytest.raises(Damaged, match=f"written for runs/{B}"):
        two.record("runs", A)


def test_a_file_in_the_place_of_a_record_gives_way(two: Store, files: Path) -> None:
    file_in_its_place(two)
    assert two.finished("runs") == {B}
    assert two.write("runs", A, RECORD | {"fingerprint": A}, files)
    assert two.finished("runs") == {A, B}


@pytest.mark.parametrize("keep_times", [False, True])
def test_content_of_the_same_size_is_noticed_when_it_is_read(two: Store, keep_times: bool) -> None:
    weights = place(two, A, "adapter", "deep", "weights.bin")
    times = weights.stat()
    assert two.folder("runs", A) == place(two, A)
    weights.write_bytes(bytes(256))
    if keep_times:
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(Damaged, match=r"weights\.bin is not what was written"):
        two.folder("runs", A)
    with pytest.raises(Damaged, match=r"weights\.bin is not what was written"):
        two.read_file("runs", A, "adapter/deep/weights.bin")
    assert two.read_file("runs", A, "predictions.parquet")
    assert two.read_file("runs", A, "absent.parquet") is None


def test_a_large_file_is_read_once_per_machine(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flare_ray.store import digests

    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(os.urandom(2**21))
    local.write("bases", A, RECORD | {"fingerprint": A}, tmp_path / "base")
    reads: list[Path] = []
    checksum_of = digests.checksum_of
    monkeypatch.setattr(digests, "checksum_of", lambda file: reads.append(file) or checksum_of(file))
    for _ in range(3):
        local.folder("bases", A)
        monkeypatch.setattr(digests, "_in_process", {})  # as in another process
    assert len(reads) == 1
    (remembered,) = (tmp_path / "cache" / "checksums").iterdir()
    remembered.write_text("0" * 40)
    local.folder("bases", A)  # what is remembered wrongly does not make a sound file damaged
    with (Path(local.root) / "bases" / A / "model.safetensors").open("r+b") as stream:
        stream.write(bytes(40_000))
    with pytest.raises(Damaged):
        local.folder("bases", A)


def test_a_damaged_copy_in_the_cache_is_made_anew(files: Path) -> None:
    store = Store("memory://copies/store")
    store.write("runs", A, RECORD | {"fingerprint": A}, files)
    copy = store.folder("runs", A)
    expected = contents(copy)
    (copy / "predictions.parquet").write_bytes(b"damaged")
    (copy / "adapter" / "deep" / "weights.bin").unlink()
    assert contents(store.folder("runs", A)) == expected


FORGED = [
    {"files": [{"path": "/etc/hostname", "bytes": 1, "blake2b": "0" * 40}]},
    {"files": [{"path": "../../../escaped", "bytes": 1, "blake2b": "0" * 40}]},
    {"files": [{"path": "adapter/../../x", "bytes": 1, "blake2b": "0" * 40}]},
    {"files": [{"path": "a\\..\\b", "bytes": 1, "blake2b": "0" * 40}]},
    {"files": [{"path": "x\0y", "bytes": 1, "blake2b": "0" * 40}]},
    {"files": [{"path": "", "bytes": 1, "blake2b": "0" * 40}]},
    {"files": [{"path": "x", "bytes": -1, "blake2b": "0" * 40}]},
    {"files": [{"path": "x", "bytes": 1, "blake2b": "../x"}]},
    {"files": [{"path": ["x"], "bytes": 1, "blake2b": "0" * 40}]},
    {"folder": "/tmp"},
    {"folder": "../../../../tmp"},
    {"folder": ".."},
    {"token": "../../evil", "folder": "../../evil"},
    {"written": "never"},
    {"record": None},
]


@pytest.mark.parametrize("url", ["folder", "memory"])
@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_manifest_writes_and_reads_nothing(
    tmp_path: Path, files: Path, url: str, forged: dict
) -> None:
    store = Store(
        str(tmp_path / "forged") if url == "folder" else f"memory://forged{os.urandom(4).hex()}/store"
    )
    store.write("runs", A, RECORD | {"fingerprint": A}, files)
    value = json.loads(store.read_bytes(f"runs/{A}/record.json"))
    value["manifest"] |= forged
    store.files.write(f"runs/{A}/record.json", as_json(value))
    store = Store(store.url)
    before = contents(tmp_path)
    for read in (store.folder, store.record):
        with pytest.raises(Damaged):
            read("runs", A)
    assert not store.has("runs", A)
    assert list(store.damaged("runs")) == [A]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("outside", ["../outside", "/etc", "runs/../../x", "runs/a\0b"])
def test_no_place_leaves_the_root(local: Store, outside: str) -> None:
    for use in (local.read_bytes, local.files.exists, local.names, local.remove):
        with pytest.raises(Damaged, match="leaves the store"):
            use(outside)
    with pytest.raises(Damaged):
        local.write_bytes(outside, b"x")


def test_plain_paths_are_taken(files: Path) -> None:
    for path in ("a", "a/b.bin", "ünï/汉字 ~.json", "..a", "a..b/c", "onnx/model:1.bin"):
        assert path_problem(path) is None
    for path in (None, 7, "", "/a", "a//b", "./a", "a/.", "a/..", "..", "a\n", "x" * 2000):
        assert path_problem(path)


def test_a_manifest_names_the_place_that_its_record_was_written_for(two: Store) -> None:
    record, manifest = parted(two.read_bytes(f"runs/{A}/record.json"))
    assert manifest is not None
    assert manifest.of == f"runs/{A}"
    assert same_record(record, manifest)


def test_a_record_of_an_earlier_version_is_known_by_its_own_fingerprint(two: Store) -> None:
    def as_earlier(value: dict) -> None:
        del value["manifest"]["of"], value["manifest"]["blake2b"]

    rewrite(two, A, as_earlier)
    assert two.finished("runs") == {A, B}
    swap(two)
    assert two.finished("runs") == set()


def test_an_answer_of_a_search_is_read_with_its_checksum(store: Store) -> None:
    store.write_json("searches/q/tpe.selected.json", {"selected": {"rank": 8}, "validation": 61.25})
    assert store.read_json("searches/q/tpe.selected.json") == {"selected": {"rank": 8}, "validation": 61.25}
    content = store.read_bytes("searches/q/tpe.selected.json").replace(b"61.25", b"81.25")
    store.write_bytes("searches/q/tpe.selected.json", content)
    with pytest.raises(Damaged, match="checksum"):
        store.read_json("searches/q/tpe.selected.json")
    store.write_text("searches/q/old.json", '[{"rank": 8}]')  # of an earlier version
    assert store.read_json("searches/q/old.json") == [{"rank": 8}]


def test_a_record_that_another_writer_finishes_in_between_is_kept(
    store: Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the writing: it is sound, so it wins, and does not go to quarantine."""
    name, other = "c" * 20, Store(store.url)
    look = store._inspector.problem

    def look_then_lose(kind: str, fingerprint: str) -> str | None:
        try:
            return look(kind, fingerprint)
        finally:
            assert other.write(kind, fingerprint, {"fingerprint": name, "writer": "other"}, files)

    monkeypatch.setattr(store._inspector, "problem", look_then_lose)
    assert not store.write("runs", name, {"fingerprint": name, "writer": "this"}, files)
    assert store.record("runs", name)["writer"] == "other"
    assert store.names("quarantine/runs") == []


@pytest.mark.parametrize(
    "fields", [{"kind": ["bug"]}, {"provenance": "abc"}, {"at": "today"}, {"at": 1e300}, {"label": 3}]
)
def test_a_failure_with_values_of_other_types_is_a_damaged_one(store: Store, fields: dict[str, Any]) -> None:
    store.write_json(f"failures/{'c' * 20}.json", {"error": "x", "kind": "bug", "at": 1.0} | fields)
    failure = store.failure("c" * 20)
    assert failure is not None
    assert failure["kind"] == "io"
    assert "damaged" in failure["error"]


def test_one_bad_download_is_not_damage(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}/store")
    store.write("bases", "c" * 20, {"fingerprint": "c" * 20}, files)
    fetch, fetched = store.files.fetch, list[str]()

    def flips_once(place: str, target: Path) -> None:
        fetch(place, target)
        fetched.append(place)
        if len(fetched) == 1:
            target.write_bytes(bytes(target.stat().st_size))

    monkeypatch.setattr(store.files, "fetch", flips_once)
    copied = store.folder("bases", "c" * 20) / "predictions.parquet"
    assert copied.read_bytes() == (files / "predictions.parquet").read_bytes()
