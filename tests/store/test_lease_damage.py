"""Lease files that are not what a driver writes: named, never a crash, and never a living driver's lease stolen."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.store import LeaseHeld, Store, open_store
from flare_ray.store.holder import Chain, holders
from flare_ray.store.lease import TTL

PROCESS = {"host": "elsewhere", "machine": "elsewhere 1", "pid": 7, "started": 1.7e9}
SOUND = {
    "name": "table1",
    "token": "theirs",
    "process": PROCESS,
    "since": 1.7e9,
    "seen": 1.7e9,
    "released": False,
}
DAMAGE: dict[str, Any] = {
    "empty": b"",
    "torn": json.dumps(SOUND).encode()[:40],
    "noise": bytes(range(256)),
    "a list": b"[1, 2]",
    "pairs": b'[["token", "x"]]',
    "null": b"null",
    "a number": b"3",
    "deep": b"[" * 100_000,
    "no process": SOUND | {"process": None},
    "a word for a process": SOUND | {"process": "here"},
    "half a process": SOUND | {"process": {"pid": 7}},
    "a negative pid": SOUND | {"process": PROCESS | {"pid": -7}},
    "a huge pid": SOUND | {"process": PROCESS | {"pid": 10**30}},
    "a pid in words": SOUND | {"process": PROCESS | {"pid": "7"}},
    "no token": {name: value for name, value in SOUND.items() if name != "token"},
    "a number for a token": SOUND | {"token": 7},
    "released by a word": SOUND | {"released": "no"},
    "NaN for a time": SOUND | {"since": float("nan")},
    "the end of time": SOUND | {"since": 1e300},
    "before all time": SOUND | {"since": -1e300},
    "a list for a time": SOUND | {"seen": []},
}


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "results"))


@pytest.fixture(params=DAMAGE)
def damaged(request: pytest.FixtureRequest, local: Store) -> str:
    """The path of a lease file of that kind, just written."""
    content = DAMAGE[request.param]
    place = Chain(local.files, "table1").place(3)
    local.write_bytes(place, content if isinstance(content, bytes) else json.dumps(content).encode())
    return local.files.path(place)


def test_one_that_is_fresh_may_be_a_living_drivers_and_is_named(local: Store, damaged: str) -> None:
    with pytest.raises(LeaseHeld) as caught, local.lease("table1"):
        raise AssertionError("stolen")
    assert damaged in str(caught.value)
    assert "remove the file" in str(caught.value)
    assert os.path.exists(damaged)
    (holder,) = holders(local.files, TTL)  # as gc looks for drivers at work
    assert holder.damage


def test_one_that_nobody_has_renewed_is_taken_over(local: Store, damaged: str) -> None:
    old = time.time() - TTL - 10
    os.utime(damaged, (old, old))
    assert holders(local.files, TTL) == []
    with local.lease("table1") as lease:
        assert lease.held
        assert not os.path.exists(damaged)


def test_one_with_more_in_it_is_a_later_versions(local: Store) -> None:
    facts = SOUND | {"process": PROCESS | {"user": "me"}, "version": 9}
    local.write_text(Chain(local.files, "table1").place(3), json.dumps(facts))
    with pytest.raises(LeaseHeld, match="host elsewhere, pid 7"), local.lease("table1"):
        raise AssertionError


def test_a_folder_in_its_place_holds_nothing(local: Store, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(local.root, "leases", "table1", "3.json")
    (folder / "inner").mkdir(parents=True)
    with local.lease("table1") as lease:
        assert lease.held
        assert local.names("leases/table1") == ["3.json", "4.json"]
    assert str(folder) in caplog.text
    assert (folder / "inner").is_dir()
    with local.lease("table1") as lease:
        assert lease.held


@pytest.mark.parametrize(
    "name", ["a.json", "-1.json", "1e3.json", "٣.json", "3.json.bak", f"{'9' * 200}.json", "3"]
)
def test_other_names_are_no_numbers(local: Store, name: str) -> None:
    local.write_text(f"leases/table1/{name}", "[]")
    with local.lease("table1") as lease:
        assert lease.held
        assert "1.json" in local.names("leases/table1")
    assert name in local.names("leases/table1")


@pytest.mark.parametrize("place", ["leases", "leases/table1"])
def test_a_file_in_the_place_of_their_folder_is_an_error_of_the_system(local: Store, place: str) -> None:
    local.write_text(place, "mine")
    with pytest.raises((OSError, InputError)) as caught, local.lease("table1"):
        raise AssertionError
    assert getattr(caught.value, "filename", None)
    assert local.read_bytes(place) == b"mine"


def test_a_living_drivers_own_file_is_written_anew_when_it_is_damaged(local: Store) -> None:
    lost: list[bool] = []
    with local.lease("table1", ttl=0.6, on_lost=lambda: lost.append(True)) as lease:
        place = Path(local.root, "leases", "table1", "1.json")
        place.write_text("{torn")
        end = time.monotonic() + 5
        while time.monotonic() < end and "{torn" in place.read_text():
            time.sleep(0.05)
        assert json.loads(place.read_text())["token"]
        time.sleep(0.3)
        assert lease.held
        assert not lost
    assert json.loads(place.read_text())["released"]
