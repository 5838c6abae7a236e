"""What a process leaves behind when it is killed is ended, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PARENT = """
import subprocess, sys, time
from pathlib import Path
from flare_ray.guardian import Guardian

place = Path(sys.argv[1])
writes = "import sys, time; f = open(sys.argv[1], 'w'); f.write('x'); f.flush(); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", writes, str(place / "log")], start_new_session=True)
grouped = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
while not (place / "log").exists():
    time.sleep(0.05)
guardians = [Guardian(folders=[place]), Guardian(group=grouped.pid)]
if "keep" in sys.argv:
    guardians[0].keep()
if "dismiss" in sys.argv:
    guardians[0].dismiss()
print(child.pid, grouped.pid, *[one.pid for one in guardians], flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def within(seconds: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)
    return done()


@pytest.fixture
def started() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in filter(alive, pids):
        os.kill(pid, signal.SIGKILL)


def start(place: Path, pids: list[int], *words: str) -> subprocess.Popen[str]:
    place.mkdir()
    command = [sys.executable, "-c", PARENT, str(place), *words]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids += map(int, parent.stdout.readline().split())
    return parent


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_parent_that_is_killed(number: int, tmp_path: Path, started: list[int]) -> None:
    place = tmp_path / "private"
    parent = start(place, started, "")
    assert len(started) == 4
    with (place / "log").open() as reader:  # as `tail -f` does; this process must live
        parent.send_signal(number)
        parent.wait()
        assert within(20, lambda: not any(map(alive, started)))
        assert reader.read() == "x"
    assert not place.exists()


def test_files_stay_where_somebody_will_look_into_them(tmp_path: Path, started: list[int]) -> None:
    place = tmp_path / "private"
    parent = start(place, started, "keep")
    parent.kill()
    parent.wait()
    assert within(20, lambda: not any(map(alive, started)))
    assert (place / "log").read_text() == "x"


def test_a_guardian_that_is_dismissed_ends_nothing(tmp_path: Path, started: list[int]) -> None:
    place = tmp_path / "private"
    parent = start(place, started, "dismiss")
    child, grouped, dismissed, other = started
    parent.kill()
    parent.wait()
    assert within(20, lambda: not alive(other))
    assert not alive(grouped)
    assert not alive(dismissed)
    assert alive(child)
    assert place.exists()


def test_signals_to_the_parents_group_do_not_end_the_guardian(tmp_path: Path, started: list[int]) -> None:
    place = tmp_path / "private"
    parent = start(place, started, "")
    groups = {os.getpgid(pid) for pid in started[2:]}
    assert os.getpgid(parent.pid) not in groups
    parent.kill()
    parent.wait()
    assert within(20, lambda: not place.exists())
