import json
import threading
from pathlib import Path

import pytest
from written import RECORD, contents

from flare_ray.errors import InputError
from flare_ray.store import Store, open_store


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.finished("runs") == set()
    assert not store.has("runs", "f1")
    assert store.failure("f1") is None
    store.forget_failure("f1")
    with pytest.raises(FileNotFoundError):
        store.record("runs", "f1")


def test_a_record_survives_the_round_trip_with_its_files(store: Store, files: Path) -> None:
    store.write("runs", "f1", RECORD, files)
    store.write("bases", "b1", RECORD)
    assert store.record("runs", "f1") == RECORD
    assert (store.finished("runs"), store.finished("bases")) == ({"f1"}, {"b1"})
    assert store.has("runs", "f1")
    assert not store.has("runs", "b1")
    found = contents(store.folder("runs", "f1"))
    kept = json.loads(found.pop("record.json"))
    assert {file["path"]: file["bytes"] for file in kept.pop("manifest")["files"]} == {
        name: len(content) for name, content in contents(files).items()
    }
    assert kept == RECORD
    assert found == contents(files)


def test_another_process_sees_it(store: Store, files: Path) -> None:
    store.write("runs", "f1", RECORD, files)
    other = Store(store.url)
    assert other.finished("runs") == {"f1"}
    assert other.record("runs", "f1") == RECORD


def test_without_record_json_work_does_not_exist(store: Store, files: Path) -> None:
    store.write("runs", "f1", RECORD, files)
    store.write("runs", "f2", RECORD, files)
    store.files.remove("runs/f1/record.json")
    assert store.files.find("runs/f1")
    assert store.finished("runs") == {"f2"}
    assert not store.has("runs", "f1")
    with pytest.raises(FileNotFoundError):
        store.record("runs", "f1")


def test_what_a_killed_writer_left_is_replaced(store: Store, files: Path) -> None:
    for place in ("predictions.parquet", "adapter/deep/weights.bin"):
        store.write_text(f"runs/f1/{place}", "half writ")
    assert store.finished("runs") == set()
    store.write("runs", "f1", RECORD, files)
    found = contents(store.folder("runs", "f1"))
    assert {name: found[name] for name in contents(files)} == contents(files)


def test_writing_twice_is_fine(store: Store, files: Path) -> None:
    store.write("runs", "f1", RECORD, files)
    store.write("runs", "f1", RECORD, files)
    assert store.finished("runs") == {"f1"}
    assert store.record("runs", "f1") == RECORD


def test_a_failure_is_kept_until_the_work_succeeds(store: Store, files: Path) -> None:
    store.write_failure("f1", {"error": "ValueError: naïve"})
    store.write_failure("f2", {"error": "first"})
    store.write_failure("f2", {"error": "second"})
    assert store.failure("f1") == {"error": "ValueError: naïve"}
    assert store.failure("f2") == {"error": "second"}
    assert store.finished("runs") == set()
    store.write("runs", "f1", RECORD, files)
    assert store.failure("f1") is None
    assert store.failure("f2") is not None
    store.forget_failure("f2")
    assert store.failure("f2") is None


def test_places_for_people_lead_to_the_files(store: Store, files: Path) -> None:
    store.write("runs", "f1", RECORD, files)
    store.write_failure("f2", {"error": "x"})
    report = store.write_text("reports/small/report.md", "# ü")
    places = [store.place("runs", "f1", "record.json"), store.failure_place("f2"), report]
    for place in places:
        assert store.fs.exists(place)
        assert Path(place).is_file() if store.local else place.startswith("memory://")
    assert store.fs.cat_file(report).decode() == "# ü"


def test_a_local_stores_folder_is_itself_and_a_remote_ones_a_copy(
    store: Store, files: Path, tmp_path: Path
) -> None:
    store.write("runs", "f1", RECORD, files)
    folder = store.folder("runs", "f1")
    assert store.folder("runs", "f1") == folder
    assert store.local == folder.is_relative_to(tmp_path / "a")
    assert store.local != folder.is_relative_to(tmp_path / "cache")
    assert [place for place in folder.parent.iterdir() if place.is_dir()] == [folder]


def test_a_reader_never_sees_half_a_record(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    long = {"text": ["x" * 1000] * 200}
    store.write("runs", "f1", long)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.write("runs", "f1", long)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        reads = [Store(store.url).record("runs", "f1") for _ in range(100)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert all(read == long for read in reads)
    assert {entry.name for entry in store.folder("runs", "f1").iterdir()} == {"record.json"}


@pytest.mark.parametrize("url", ["{file}/store", "nosuchprotocol://bucket/study"])
def test_a_store_that_cannot_be_written_is_wrong_input(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    url = url.format(file=tmp_path / "file")
    with pytest.raises(InputError) as caught:
        open_store(url)
    (problem,) = caught.value.problems
    assert problem.where == "storage"
    assert url in problem.found


def test_opening_a_store_makes_its_folder_and_changes_nothing_in_it(tmp_path: Path, files: Path) -> None:
    store = open_store(str(tmp_path / "new" / "store"))
    store.write("runs", "f1", RECORD, files)
    before = contents(tmp_path / "new")
    again = open_store(str(tmp_path / "new" / "store"))
    assert contents(tmp_path / "new") == before
    assert again.finished("runs") == {"f1"}
