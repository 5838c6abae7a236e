"""The store on S3: over HTTP, with conditional writes, busy and lost answers, and few requests."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import FaultyS3, s3_server
from written import RECORD, contents, write_files

from flare_ray.errors import InputError
from flare_ray.store import LeaseHeld, Store, open_store, patience
from flare_ray.store.garbage import garbage, remove
from flare_ray.store.integrity import quarantine, verify
from flare_ray.store.inventory import Inventory

pytestmark = pytest.mark.slow
pytest.importorskip("moto")
pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    server.heal()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # the driver's own, long waits are not what is tested
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"b-{uuid.uuid4().hex[:10]}"
    Store(f"s3://{bucket}/study").fs.mkdir(bucket)
    yield open_store(f"s3://{bucket}/study")
    server.heal()


def test_the_whole_life_of_work(s3: Store, files: Path) -> None:
    assert s3.finished("runs") == set()
    s3.write_failure("r1", {"error": "first"})
    assert s3.write("runs", "r1", RECORD, files)
    assert not s3.write("runs", "r1", {"by": "a second"}, files)
    assert s3.record("runs", "r1") == RECORD
    assert s3.records("runs", ["r1"]) == {"r1": RECORD}
    assert s3.failure("r1") is None
    assert Store(s3.url).finished("runs") == {"r1"}
    found = contents(s3.folder("runs", "r1"))
    assert {name: found[name] for name in contents(files)} == contents(files)
    assert verify(s3).findings == ()
    assert s3.place("runs", "r1") == f"{s3.url}/runs/r1"


def test_of_writers_at_once_one_is_kept(s3: Store, tmp_path: Path) -> None:
    made = {letter: write_files(tmp_path / letter, letter) for letter in "abcd"}
    won: list[str] = []
    start = threading.Barrier(len(made))

    def write(letter: str) -> None:
        start.wait()
        if s3.write("runs", "r1", {"by": letter}, made[letter]):
            won.append(letter)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [s3.record("runs", "r1")["by"]]
    assert len(s3.files.find("runs/r1")) == 4
    assert verify(s3).findings == ()


def test_a_busy_service_and_lost_answers_are_waited_out(s3: Store, server: FaultyS3, files: Path) -> None:
    server.busy, server.lost = 0.15, 0.1
    for number in range(3):
        assert s3.write("runs", str(number), RECORD, files)
        assert s3.record("runs", str(number)) == RECORD
    server.heal()
    assert len(s3.finished("runs")) == 3
    assert verify(s3).findings == ()
    assert garbage(s3, Inventory.of(s3), age=-1) == []


def test_a_service_that_stays_busy_is_an_error_in_the_end(
    s3: Store, server: FaultyS3, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ATTEMPTS", 2)
    server.busy = 1.0
    with pytest.raises(OSError, match="Service Unavailable"):
        s3.write("runs", "r1", RECORD, files)
    server.heal()
    assert not s3.has("runs", "r1")


def test_a_killed_writers_files_are_no_record_and_go(s3: Store, server: FaultyS3, files: Path) -> None:
    s3.write_text(f"runs/r1/{'0' * 32}/predictions.parquet", "half of it")
    assert s3.finished("runs") == set()
    assert s3.write("runs", "r1", RECORD, files)
    remove(s3, garbage(s3, Inventory.of(s3), age=-3600))
    assert len(s3.files.find("runs/r1")) == 3
    assert verify(s3).findings == ()


def test_damage_is_found_and_repaired(s3: Store, files: Path) -> None:
    s3.write("runs", "r1", RECORD, files)
    (place,) = [place for place in s3.files.find() if place.endswith("weights.bin")]
    s3.write_bytes(place, bytes(256))
    (finding,) = verify(s3).findings
    assert finding.place == f"{s3.url}/{place}"
    quarantine(s3, [finding])
    assert s3.finished("runs") == set()
    assert len(s3.files.find("quarantine/runs")) == 3


def test_finished_work_is_recognised_by_one_listing(s3: Store, server: FaultyS3) -> None:
    for number in range(50):
        s3.write_text(f"runs/{number}/record.json", "{}")
        s3.write_text(f"runs/{number}/{'0' * 32}/predictions.parquet", "x")
    server.requests.clear()
    assert len(s3.finished("runs")) == 50
    assert len(server.requests) <= 2


@pytest.mark.parametrize("unconditional", [False, True])
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_one_driver_holds_the_lease(s3: Store, server: FaultyS3, unconditional: bool, delay: float) -> None:
    server.unconditional, server.delay = unconditional, delay
    outcomes: list[Any] = []
    start, done = threading.Barrier(3), threading.Barrier(3)

    def drive() -> None:
        start.wait()
        try:
            with s3.lease("table1", settle=2.0) as lease:
                outcomes.append(lease)
                done.wait()
        except LeaseHeld as error:
            outcomes.append(error)
            done.wait()

    threads = [threading.Thread(target=drive) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, LeaseHeld) for outcome in outcomes) == 2
    with s3.lease("table1", settle=0) as lease:
        assert lease.held


def test_a_bucket_that_is_not_there_is_wrong_input(s3: Store) -> None:
    with pytest.raises(InputError, match="no-such-bucket"):
        open_store("s3://no-such-bucket/study")
