"""A storage that is not there any more: nothing is written into what lies in its place, and the error says why."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from written import RECORD, key

from flare_ray.commands.guard import guarded
from flare_ray.errors import InputError
from flare_ray.store import Store, StoreAway, open_store
from flare_ray.store.guard import EVERY, OtherStore
from flare_ray.store.holder import holders
from flare_ray.store.identity import PLACE, identity
from flare_ray.store.layout import KINDS, VIEWS
from flare_ray.store.lease import TTL

R1, R2 = key("r1"), key("r2")
Swap = Callable[[], Callable[[], None]]


def mutations(store: Store, files: Path) -> dict[str, Callable[[], object]]:
    """Everything that changes a store."""
    return {
        "a record": lambda: store.write("runs", R2, RECORD, files),
        "a record without files": lambda: store.write("runs", R2, RECORD),
        "a failure": lambda: store.write_failure(R2, {"error": "x"}),
        "no failure": lambda: store.forget_failure(R1),
        "a file": lambda: store.write_bytes("searches/x/tpe.json", b"[]"),
        "a new file": lambda: store.files.create("leases/x/1.json", b"{}"),
        "a file put": lambda: store.files.put(files / "predictions.parquet", "checkpoints/x"),
        "a folder less": lambda: store.remove(f"runs/{R1}"),
        "a folder moved": lambda: store.files.move_folder(f"runs/{R1}", "quarantine/x"),
        "a file moved": lambda: store.files.move(f"runs/{R1}/record.json", "quarantine/x"),
        "the time": store.files.now,
    }


MUTATIONS = list(mutations(Store("memory://none"), Path()))


@pytest.fixture
def filled(local: Store, files: Path) -> Store:
    local.write("runs", R1, RECORD, files)
    local.write_failure(R1, {"error": "x"})
    return local


@pytest.fixture(
    params=["an empty folder", "another store", "a copy of its records", "nothing", "a mount gone"]
)
def swap(
    request: pytest.FixtureRequest, filled: Store, files: Path, tmp_path: Path
) -> Iterator[Callable[[], Callable[[], None]]]:
    """Lets something else lie in the store's place; returns what puts it back."""
    root, away = Path(filled.root), tmp_path / "away"
    mounted = False

    def do() -> Callable[[], None]:
        nonlocal mounted
        if request.param == "a mount gone":
            try:  # the other way round is the same to who looks: another disk is mounted over it
                subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("nothing can be mounted here")
            mounted = True
            return unmount
        os.rename(root, away)
        if request.param != "nothing":
            root.mkdir()
        if request.param == "another store":
            open_store(str(root))
        if request.param == "a copy of its records":
            Store(str(root)).write("runs", R1, RECORD, files)
        return back

    def unmount() -> None:
        nonlocal mounted
        subprocess.run(["umount", root], check=True)
        mounted = False

    def back() -> None:
        if root.exists():
            os.rename(root, tmp_path / "beneath")
        os.rename(away, root)

    yield do
    if mounted:
        unmount()


def seen(root: str) -> set[str]:
    return {str(path.relative_to(root)) for path in Path(root).rglob("*")}


@pytest.mark.parametrize("what", MUTATIONS)
def test_nothing_is_changed_in_another_place_and_all_goes_on_when_it_is_back(
    what: str, filled: Store, files: Path, swap: Swap
) -> None:
    change = mutations(filled, files)[what]
    filled.write_text("searches/x/random.json", "[]")
    (Path(filled.root) / "checkpoints").mkdir()
    back = swap()
    before = seen(filled.root)
    with pytest.raises(OtherStore, match=rf"sees (no|another) store at {filled.root}"):
        change()
    assert seen(filled.root) == before
    back()
    assert filled.record("runs", R1) == RECORD
    change()


def test_a_command_ends_with_75_and_the_reason(
    filled: Store, swap: Swap, capsys: pytest.CaptureFixture[str]
) -> None:
    swap()
    assert guarded(lambda: int(filled.write("runs", R2, RECORD))) == 75
    assert f"store at {filled.root}" in capsys.readouterr().err


def test_a_lease_is_not_lost_to_an_empty_folder(filled: Store, swap: Swap) -> None:
    """The driver hears the true reason, and the lease is its own still when the storage is back."""
    stopped = threading.Event()
    with filled.lease("table1", ttl=0.6, on_lost=stopped.set) as lease:
        back = swap()
        assert stopped.wait(5)
        assert isinstance(lease.gone, OtherStore)
        assert not lease.held
        assert not os.path.exists(f"{filled.root}/leases")
        back()
    assert holders(filled.files, TTL) == []


def test_a_lease_that_was_taken_over_is_lost_all_the_same(local: Store) -> None:
    stopped = threading.Event()
    with local.lease("table1", ttl=0.6, on_lost=stopped.set) as lease:
        local.write_text("leases/table1/2.json", "{}")
        assert stopped.wait(5)
        assert lease.gone is None
        assert not lease.held


def test_a_checked_write_costs_one_look_at_the_id(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    local.write_text("a", "a")
    reads: list[str] = []
    read = local.files.read
    monkeypatch.setattr(local.files, "read", lambda place: reads.append(place) or read(place))
    for number in range(50):
        local.write_text(f"searches/{number}", "x")
    assert reads == []
    os.replace(local.files.path(PLACE), local.files.path("moved"))
    os.replace(local.files.path("moved"), local.files.path(PLACE))
    Path(local.files.path(PLACE)).write_text(local.read_bytes(PLACE).decode())  # a copy put back
    local.write_text("b", "b")
    assert reads.count(PLACE) == 2, "what has changed is read, and is the same id"


def test_an_object_store_is_asked_now_and_then(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("memory://asked/store")
    clock = [time.monotonic()]
    monkeypatch.setattr("flare_ray.store.guard.time.monotonic", lambda: clock[0])
    store.files.remove(PLACE)
    store.write_text("searches/x", "within the time")
    clock[0] += EVERY + 1
    with pytest.raises(OtherStore):
        store.write("runs", R1, RECORD, files)
    assert not store.has("runs", R1)


def test_a_mount_whose_server_is_gone_is_the_same(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(path: str) -> os.stat_result:
        raise OSError(107, "Transport endpoint is not connected", path)

    monkeypatch.setattr("flare_ray.store.guard.os.lstat", stale)
    with pytest.raises(StoreAway, match="Transport endpoint is not connected"):
        local.write_text("a", "a")


def test_every_store_that_is_opened_to_be_written_has_an_id(tmp_path: Path) -> None:
    one = open_store(str(tmp_path / "one"))
    known = Path(one.root, PLACE).read_text()
    assert identity(one.files) == identity(open_store(one.url).files) == known
    Path(one.root, PLACE).write_text("")  # a file whose writer died before its content
    assert len(identity(open_store(one.url).files)) == 32


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_a_store_that_lies_elsewhere_is_refused(kind: str, local: Store, tmp_path: Path) -> None:
    elsewhere, place = tmp_path / "elsewhere", Path(local.files.path(kind))
    elsewhere.mkdir()
    if place.is_dir():
        place.rmdir()
    place.symlink_to(elsewhere)
    with pytest.raises(InputError) as error:
        open_store(local.url)
    assert error.value.exit_code == 2
    assert f"{place}, which is a symbolic link to {elsewhere}" in str(error.value)
    assert "whole storage folder" in str(error.value)
    place.unlink()
    place.write_text("a file")
    if kind not in VIEWS:  # what only shows the work stops no sweep
        with pytest.raises(InputError, match="is no folder"):
            open_store(local.url)
        place.unlink()
    open_store(local.url)


@pytest.mark.parametrize("bind", [True, False])
def test_a_mount_in_the_place_of_runs_is_refused(bind: bool, local: Store, tmp_path: Path) -> None:
    """Of the same disk too: a rename into it fails as well."""
    place, elsewhere = Path(local.root, "runs"), tmp_path / "elsewhere"
    for folder in (place, elsewhere):
        folder.mkdir()
    what = ["--bind", str(elsewhere)] if bind else ["-t", "tmpfs", "tmpfs"]
    try:
        subprocess.run(["mount", *what, place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(InputError, match="is a mount of its own"):
            open_store(local.url)
    finally:
        subprocess.run(["umount", place], check=True)


def test_the_whole_storage_may_be_a_link_or_a_mount(tmp_path: Path, files: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    store = open_store(str(tmp_path / "results"))
    assert store.write("runs", R1, RECORD, files)
    assert store.record("runs", R1) == RECORD


def test_a_driver_that_starts_while_the_disk_is_unmounted_begins_nothing_beneath(
    tmp_path: Path, files: Path
) -> None:
    disk, mount = tmp_path / "disk", tmp_path / "a mount"
    for folder in (disk, mount):
        folder.mkdir()
    bind = ["mount", "--bind", str(disk), str(mount)]
    try:
        subprocess.run(bind, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        open_store(str(mount / "study")).write("runs", R1, RECORD, files)
    finally:
        subprocess.run(["umount", mount], check=True)
    for _ in range(2):
        with pytest.raises(InputError, match=f"nothing is mounted at {mount}") as error:
            open_store(str(mount / "study"))
        assert error.value.exit_code == 75, "the disk may come back"
        assert not list(mount.iterdir())
    open_store(str(mount / "another study"))
    subprocess.run(bind, check=True)
    try:
        assert open_store(str(mount / "study")).record("runs", R1) == RECORD
        os.rename(mount / "study", mount / "of last year")
        assert not open_store(str(mount / "study")).has("runs", R1), "a folder that was moved is a new store"
    finally:
        subprocess.run(["umount", mount], check=True)
