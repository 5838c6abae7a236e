"""Every signal to stop does the same: once at the next checkpoint, twice now."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from flare_ray.execution.stopping import OnSignal, interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # handlers run between two steps of Python


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_interrupts(number: signal.Signals) -> None:
    asked: list[bool] = []
    with OnSignal(lambda: asked.append(True)):
        send(number)
        assert asked == [True]
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
    assert asked == [True]


def test_the_hangups_of_one_closing_terminal_are_one_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    with OnSignal(lambda: asked.append(True)) as listening:
        for _ in range(3):
            send(signal.SIGHUP)
        assert asked == [True]
        listening._first -= 10
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_the_work_every_signal_is_ctrl_c(number: signal.Signals) -> None:
    with interruptible(), pytest.raises(KeyboardInterrupt):
        send(number)


def test_nohup_is_respected() -> None:
    code = """
import os, signal
from flare_ray.execution.stopping import OnSignal, interruptible
with interruptible(), OnSignal(lambda: print("asked", flush=True)):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
print("ended", flush=True)
"""
    command = ["bash", "-c", f"trap '' HUP; exec {sys.executable} -c '{code.replace(chr(39), chr(34))}'"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["asked", "ended"], found.stderr
