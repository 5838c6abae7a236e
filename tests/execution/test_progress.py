"""What a log says of a sweep: bounded, dated, and nothing that ended is missing from its counts."""

import io
import re
from typing import Any

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
    return {"event": event, "kind": "run", "label": f"run {number}", "trial": f"pack-{number}", **facts}


def started(number: int, kind: str = "run") -> dict[str, Any]:
    return {"event": "started", "kind": kind, "label": f"run {number}", "trial": f"pack-{number}"}


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
