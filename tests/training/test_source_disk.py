"""Source states on disk: whole or not there, within their budget, one writer's as good as another's."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flare_ray.training.source_disk import OnDisk, SourceDisk, States

ABOUT = {"what": "a test"}
TOKEN = 3 * 4 * 4 + 2 * 4 * 4
"""Bytes of one token's states: three and two layers of four columns, in two stacks."""


def states(seed: int, length: int) -> States:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(length, layers, 4, generator=draw) for layers in (3, 2))


def passes(*lengths: int, each: int = 2) -> Iterator[list[States]]:
    for start in range(0, len(lengths), each):
        yield [states(k, lengths[k]) for k in range(start, min(len(lengths), start + each))]


def written(disk: SourceDisk, name: str, *lengths: int, age: float = 0) -> OnDisk | None:
    with disk.alone(name):
        found = disk.open(name) or disk.write(name, ABOUT, TOKEN * sum(lengths), passes(*lengths))
    if age and found is not None:
        before = time.time() - age
        os.utime(found.folder / "about.json", (before, before))
    return found


def names(disk: SourceDisk) -> set[str]:
    return {folder.name for folder in disk.root.iterdir() if folder.is_dir()}


@pytest.mark.parametrize("shard_bytes", [1, 10 * TOKEN, 1 << 30])
def test_what_is_read_is_what_was_written(shard_bytes: int, tmp_path: Path) -> None:
    disk, lengths = SourceDisk(tmp_path, 1e9, shard_bytes), (9, 7, 7, 3, 1)
    written(disk, "some", *lengths)
    found = SourceDisk(tmp_path, 1e9).open("some")
    assert found is not None
    assert len(found) == 5
    for k, length in enumerate(lengths):
        for stack, expected in zip(found[k], states(k, length), strict=True):
            assert torch.equal(stack, expected)
    shards = list((tmp_path / "some").glob("states-*"))
    assert len(shards) == {1: 3, 10 * TOKEN: 3, 1 << 30: 1}[shard_bytes]
    assert json.loads((tmp_path / "some" / "about.json").read_text())["what"] == "a test"


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    disk = SourceDisk(tmp_path, 70 * TOKEN)  # files have headers
    for number, name in enumerate("abc"):
        written(disk, name, 10, 10, age=100 - number)
    disk.open("a")
    first = disk.open("b")
    assert first is not None
    os.utime(first.folder / "about.json", (1, 1))
    written(disk, "d", 12)
    assert names(disk) == {"a", "c", "d"}
    assert torch.equal(first[1][0], states(1, 10)[0]), "who has it open reads on"
    assert not disk.touch(first.folder)
    assert written(disk, "too large", 71) is None
    assert names(disk) == {"a", "c", "d"}, "and removes nothing"


@pytest.mark.parametrize(
    "how", ["short", "missing", "no json", "flipped", "a folder", "of another", "swapped"]
)
def test_an_entry_that_is_not_whole_is_computed_again(how: str, tmp_path: Path) -> None:
    disk = SourceDisk(tmp_path, 1e9)
    written(disk, "some", 5, 4, 3)
    (file,) = (tmp_path / "some").glob("states-*")
    if how == "short":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "missing":
        file.unlink()
    elif how == "flipped":
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    elif how == "of another":
        written(disk, "other", 7, 4, 3)
        shutil.copy(tmp_path / "other" / file.name, file)
    elif how == "swapped":
        written(disk, "other", 7, 4, 3)
        shutil.rmtree(tmp_path / "some")
        (tmp_path / "other").rename(tmp_path / "some")
    else:
        (tmp_path / "some" / "about.json").write_text("{")
    assert disk.open("some") is None
    found = written(disk, "some", 5, 4, 3)
    assert found is not None
    assert torch.equal(found[2][1], states(2, 3)[1])
    assert [len(one[0]) for one in found] == [5, 4, 3]
    assert names(disk) - {"other"} == {"some"}


def test_of_two_that_write_the_same_the_first_is_kept(tmp_path: Path) -> None:
    """Without locks, as on some network file systems."""
    disks = SourceDisk(tmp_path, 1e9), SourceDisk(tmp_path, 1e9)
    disks[0].root.mkdir(exist_ok=True)

    def overtaken() -> Iterator[list[States]]:
        yield [states(0, 5)]
        found = disks[1].write("some", {"what": "the first"}, TOKEN * 5, passes(5))
        assert found is not None

    found = disks[0].write("some", ABOUT, TOKEN * 5, overtaken())
    assert found is not None
    assert torch.equal(found[0][0], states(0, 5)[0])
    assert json.loads((tmp_path / "some" / "about.json").read_text())["what"] == "the first"
    assert names(disks[0]) == {"some"}


def test_one_computes_and_the_others_wait(tmp_path: Path) -> None:
    computed = []

    def work() -> None:
        disk = SourceDisk(tmp_path, 1e9)
        with disk.alone("some"):
            if disk.open("some") is None:
                computed.append(1)
                disk.write("some", ABOUT, TOKEN * 9, passes(5, 4))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    disk = SourceDisk(tmp_path, 1e9)

    def breaks() -> Iterator[list[States]]:
        yield [states(0, 5)]
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError), disk.alone("some"):
        disk.write("some", ABOUT, TOKEN * 10, breaks())
    assert names(disk) == set()


KILLED = """
import os, sys
from pathlib import Path
import torch
from flare_ray.training.source_disk import SourceDisk
def dies():
    yield [(torch.zeros(5, 3, 4),)]
    os._exit(9)
SourceDisk(Path(sys.argv[1]), 1e9, shard_bytes=1).write("some", {}, 10**6, dies())
"""


def test_a_killed_writer_takes_no_room(tmp_path: Path) -> None:
    """What it has reserved is free at once: the run that goes on must find the room that it had."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == 9
    (left,) = names(SourceDisk(tmp_path, 0))
    assert left.endswith(".unfinished")
    disk = SourceDisk(tmp_path, 10**6)
    assert written(disk, "some", 5) is not None
    assert names(disk) == {"some"}


@pytest.mark.parametrize(
    ("host", "age", "counted"), [("here", 9999, True), ("there", 0, True), ("there", 9999, False)]
)
def test_who_still_writes_keeps_what_it_reserved(
    host: str, age: float, counted: bool, tmp_path: Path
) -> None:
    import psutil

    me = psutil.Process()
    writer = {
        "host": socket.gethostname() if host == "here" else "other",
        "pid": me.pid,
        "since": me.create_time(),
    }
    folder = tmp_path / "some.1.unfinished"
    folder.mkdir()
    (folder / "about.json").write_text(json.dumps({"bytes": 900 * TOKEN, "writer": writer}))
    os.utime(folder / "about.json", (time.time() - age, time.time() - age))
    assert (written(SourceDisk(tmp_path, 1000 * TOKEN), "other", 200) is None) == counted


def test_a_full_disk_costs_the_states_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    disk = SourceDisk(tmp_path, 1e9)
    assert written(disk, "some", 5) is None
    assert "source states are not kept on disk: OSError" in caplog.text
    assert names(disk) == set()
