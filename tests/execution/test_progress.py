"""What a log says of a sweep: bounded, dated, and nothing that ended is missing from its counts."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from flare_ray.execution.progress import LINES, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def log_of(runs: int) -> tuple[Progress, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return Progress(Console(file=stream, width=200), runs, 1, clock), stream, clock


def ended(number: int, event: str = "finished") -> dict[str, Any]:
    facts = {"metrics": {"macro_f1": 50.0}, "seconds": 1.0} if event == "finished" else {"error": "broken"}
    return {"event": event, **about(number), **facts}


def started(number: int, kind: str = "run") -> dict[str, Any]:
    return {"event": "started", **about(number), "kind": kind}


def about(number: int) -> dict[str, Any]:
    return {
        "kind": "run",
        "fingerprint": f"print{number}",
        "label": f"run {number}",
        "trial": f"pack-{number}",
    }


def test_a_log_has_dated_plain_lines_with_what_is_done_and_the_time_left() -> None:
    progress, stream, clock = log_of(4)
    progress.on_event(started(1))
    clock.now += 10
    progress.on_event(ended(1))
    line = stream.getvalue().splitlines()[-1]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[1/4, 0:00:30 left\] run 1  macro_f1 50.0", line)
    progress.on_event(ended(2, "failed"))
    assert "[2/4, 1 failed, 0:00:10 left] FAILED run 2: broken" in stream.getvalue().splitlines()[-1]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_however_many_runs_end_a_minute_has_so_many_lines() -> None:
    progress, stream, clock = log_of(5000)
    for number in range(2000):
        progress.on_event(started(number))
        progress.on_event(ended(number, "failed" if number % 2 else "finished"))
        clock.now += 0.01
    assert len(stream.getvalue().splitlines()) == LINES
    progress.status()
    last = stream.getvalue().splitlines()[-1]
    assert "1000 done, 1000 failed, 3000 left" in last
    assert f"{2000 - LINES} more ended since the last line" in last
    clock.now += 61
    progress.on_event(ended(4000))
    assert "run 4000" in stream.getvalue().splitlines()[-1], "the next minute has lines again"


def test_what_ended_without_a_line_is_told_at_the_end() -> None:
    progress, stream, _ = log_of(LINES + 5)
    with progress:
        for number in range(LINES + 5):
            progress.on_event(ended(number))
    assert "5 more ended since the last line" in stream.getvalue().splitlines()[-1]


def test_the_counts_are_those_of_the_lines() -> None:
    progress, _, clock = log_of(4)
    assert progress.counts() == {"finished": 0, "failed": 0, "left": 4}
    progress.on_event(started(1))
    clock.now += 10
    progress.on_event(ended(1))
    progress.on_event(ended(2, "failed"))
    assert progress.counts() == {"finished": 1, "failed": 1, "left": 2, "seconds_left": 10.0}
    progress.more(3, 0)
    assert progress.counts()["left"] == 5


def test_a_run_that_is_tried_again_counts_once() -> None:
    progress, stream, clock = log_of(1)
    for error in ("OSError: no route", "OSError: no route"):
        progress.on_event(started(1))
        assert progress.counts()["failed"] == 0, "it is at work again"
        clock.now += 10
        progress.on_event(ended(1, "failed") | {"error": error})
        assert progress.counts() == {"finished": 0, "failed": 1, "left": 0, "seconds_left": 0.0}
    progress.on_event(started(1))
    progress.on_event(ended(1))
    assert progress.counts() == {"finished": 1, "failed": 0, "left": 0, "seconds_left": 0.0}
    last = stream.getvalue().splitlines()[-1]
    assert "[1/1] run 1" in last
    progress.status()
    assert "1 done, 0 failed, 0 left" in stream.getvalue()
    assert "-1 day" not in stream.getvalue()


def test_what_is_told_as_done_twice_counts_once() -> None:
    """A stage that begins again tells of the runs that its store has already."""
    progress, stream, _ = log_of(3)
    for _ in range(2):
        progress.on_event(ended(1))
        progress.on_event(ended(2, "finished") | {"kind": "base"})
    assert progress.counts()["finished"] == 1
    assert progress.bases_done == 1
    assert stream.getvalue().count("run 1") == 1
    progress.on_event(ended(1, "failed"))
    assert progress.counts() == {"finished": 1, "failed": 0, "left": 2}, "done work stays done"


def test_no_line_has_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", "pl4nted/+Secret=Value")
    progress, stream, _ = log_of(2)
    error = "OSError: could not sign with pl4nted/+Secret=Value for http://ann:pl4nted@proxy"
    progress.on_event(ended(1, "failed") | {"error": error})
    progress.on_event(ended(2, "failed") | {"kind": "corpus", "error": error})
    assert stream.getvalue().count("could not sign with ***") == 2
    assert "pl4nted" not in stream.getvalue()
