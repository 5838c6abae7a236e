"""Two drivers on one storage: one holds the lease, the other is told by whom, waits, or takes over from the dead."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.store import LeaseHeld, Store, open_store
from flare_ray.store.holder import Chain, Process, holders
from flare_ray.store.lease import TTL

QUICK = {"ttl": 0.6, "settle": 0.05}


def written_by(store: Store, number: int = 1, **changes: Any) -> str:
    """A lease's file as another machine's driver writes it; returns its place."""
    chain = Chain(store.files, "table1")
    facts = json.loads(chain.content("theirs", time.time()))
    facts["process"] |= {"host": "elsewhere", "machine": "elsewhere 1"}
    store.write_text(chain.place(number), json.dumps(facts | changes))
    return chain.place(number)


def test_a_second_driver_is_told_about_the_first(store: Store) -> None:
    with store.lease("table1", settle=0) as lease:
        assert lease.held
        with pytest.raises(InputError) as caught, Store(store.url).lease("table1", settle=0):
            raise AssertionError
        assert isinstance(caught.value, LeaseHeld)
        wanted = (
            rf"another driver on host \S+, pid {os.getpid()}, since [-\d :]+, last seen \d+ s ago works on"
        )
        assert re.search(wanted, str(caught.value))
        with store.lease("table2", settle=0):
            assert sorted(holder.name for holder in holders(store.files, TTL)) == ["table1", "table2"]
    assert not lease.held
    assert holders(store.files, TTL) == []


def test_it_can_be_taken_again_and_again_and_keeps_one_file(store: Store) -> None:
    for _ in range(4):
        with store.lease("a sweep/with: signs", settle=0) as lease:
            assert lease.held
    (folder,) = store.names("leases")
    assert folder.startswith("a-sweep-with-signs-")
    assert store.names(f"leases/{folder}") == ["4.json"]


def test_an_error_in_the_work_gives_it_back(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lease("table1", settle=0):
        _ = 1 / 0
    assert holders(store.files, TTL) == []


def test_what_was_given_back_early_is_not_taken_from_who_came_after(store: Store) -> None:
    with store.lease("table1", settle=0) as first:
        first.release()
        assert not first.held
        with store.lease("table1", settle=0) as second:
            first.release()
            assert second.held
            assert len(holders(store.files, TTL)) == 1


def test_a_second_driver_can_wait(store: Store) -> None:
    waited: list[Any] = []
    order: list[str] = []

    def second() -> None:
        with store.lease("table1", wait=True, on_wait=waited.append, **QUICK):
            order.append("second")

    with store.lease("table1", **QUICK):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert [holder.process.pid for holder in waited] == [os.getpid()]


def test_a_killed_driver_of_this_machine_is_followed_at_once(local: Store) -> None:
    code = "import sys, time; from flare_ray.store import Store\nlease = Store(sys.argv[1]).lease('table1')\n"
    code += "lease.__enter__(); print('held', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code, local.url], stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    with pytest.raises(LeaseHeld, match=f"pid {child.pid}"), local.lease("table1"):
        pass
    child.kill()  # and not waited for: a zombie has a pid and does nothing
    with local.lease("table1", wait=True) as lease:
        assert lease.held
    child.wait()
    child.stdout.close()


def test_a_pid_that_is_another_process_now_is_gone() -> None:
    this = Process.this()
    assert not this.is_gone()
    assert replace(this, started=this.started - 3600).is_gone()
    assert not replace(this, pid=2**22 + 1, machine="elsewhere").is_gone()


def test_a_driver_that_replaced_itself_follows_itself_at_once(local: Store) -> None:
    """After an exec the process is the same, and the lease that it could not give back is nobody's."""
    written_by(local, process=asdict(Process.this()))
    with local.lease("table1") as lease:
        assert lease.held


def test_a_silent_driver_of_another_machine_is_followed_after_ttl(local: Store) -> None:
    place = written_by(local)
    with pytest.raises(LeaseHeld, match="host elsewhere"), local.lease("table1"):
        pass
    silent = time.time() - TTL - 1
    os.utime(local.files.path(place), (silent, silent))
    with local.lease("table1") as lease:
        assert lease.held
    assert local.names("leases/table1") == ["2.json"]


def test_machines_whose_clocks_differ_agree_on_who_lives(local: Store) -> None:
    """What counts is the storage's clock, not what a driver wrote about its own."""
    written_by(local, seen=time.time() - 7200, since=time.time() - 7200)
    with pytest.raises(LeaseHeld), local.lease("table1"):
        pass


def test_a_driver_that_said_goodbye_is_followed_at_once(store: Store) -> None:
    written_by(store, released=True)
    with store.lease("table1", settle=0) as lease:
        assert lease.held


def test_a_holder_stays_alive_by_its_thread(store: Store) -> None:
    brief = {"ttl": 2.5, "settle": 0.05}  # a busy disk takes a second to say that it has written
    with store.lease("table1", **brief) as lease:
        time.sleep(4)
        assert lease.held
        with pytest.raises(LeaseHeld), store.lease("table1", **brief):
            pass


@pytest.mark.parametrize("how", ["a later number", "its own file overwritten"])
def test_a_holder_notices_that_it_was_taken_over(store: Store, how: str) -> None:
    lost = threading.Event()
    with store.lease("table1", on_lost=lost.set, **QUICK) as lease:
        written_by(store, number=2 if how == "a later number" else 1)
        assert lost.wait(timeout=5)
        assert not lease.held
    (holder,) = holders(store.files, TTL)
    assert holder.process.host == "elsewhere"  # not given back in the other's name


def test_a_holder_that_cannot_reach_the_storage_knows_it(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> None:
        raise OSError("down")

    with local.lease("table1", **QUICK) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(local.files, "write", unreachable)
            time.sleep(1.0)
            assert not lease.held
        time.sleep(0.4)
        assert lease.held  # no one came meanwhile


def test_of_many_that_come_at_once_one_holds_it(store: Store) -> None:
    written_by(store, released=True)
    outcomes: list[bool] = []
    ready, done = threading.Barrier(8), threading.Barrier(8)

    def come() -> None:
        ready.wait()
        try:
            with store.lease("table1", settle=0.3):
                outcomes.append(True)
                done.wait()
        except LeaseHeld:
            outcomes.append(False)
            done.wait()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_of_many_processes_one_follows_the_dead(local: Store) -> None:
    code = """
import sys, time
from pathlib import Path
from flare_ray.store import LeaseHeld, Store
store, go = Store(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    pass
try:
    with store.lease("table1"):
        print("held", flush=True)
        sys.stdin.read()
except LeaseHeld:
    print("left", flush=True)
"""
    written_by(local, released=True)
    go = Path(local.root) / "go"
    command = [sys.executable, "-c", code, local.url, str(go)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for child in children:
        child.stdout.readline()
    go.touch()
    said = [child.stdout.readline().strip() for child in children]
    for child in children:
        child.communicate()
    assert sorted(said) == ["held", "left", "left", "left"]


def test_a_folder_without_hard_links_will_do(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    with local.lease("table1"), pytest.raises(LeaseHeld), local.lease("table1"):
        pass


def test_a_file_is_created_once(store: Store) -> None:
    assert store.files.create("some/where", b"a")
    assert not store.files.create("some/where", b"b")
    assert store.read_bytes("some/where") == b"a"


def test_a_store_that_is_opened_by_many_has_one_clock(tmp_path: Path) -> None:
    one, two = open_store(str(tmp_path)), open_store("memory://clock/store")
    for store in (one, two):
        assert abs(store.files.now() - time.time()) < 5
        assert store.files.find().keys() == {".store", ".writable"}
