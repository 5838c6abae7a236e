"""What runs, what is left and how long it will take: a live panel in a terminal, plain lines elsewhere.

A log, as a job's, gets each line with its date; no more than some a minute, however many runs end, and one a minute
that says how far it all is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flare_ray.redaction import redacted

LINES = 30
"""Of the log, a minute: what ends beyond them is only counted."""
_MINUTE = 60.0


class Progress:
    """Listens to the driver's events. Use as a context manager around the execution."""

    def __init__(self, console: Console, runs: int, bases: int, clock: Callable[[], float] = time.monotonic):
        self.console, self.runs, self.bases, self.clock = console, runs, bases, clock
        self._finished, self._failed, self._bases = set[str](), set[str](), set[str]()  # fingerprints
        self._lines: deque[float] = deque(maxlen=LINES)
        self._untold = 0
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._beat = threading.Thread(target=self._beats, name="progress", daemon=True)
        self._current: dict[str, tuple[str, float]] = {}
        self._first_run: float | None = None
        self._told = 0.0
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=2)
        self._is_live = console.is_terminal

    def __enter__(self) -> Progress:
        if self._is_live:
            self._live.start()
        else:
            self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._current.clear()
        self._ended.set()
        if self._is_live:
            self._live.stop()
        elif self._untold:
            self.status()

    @property
    def finished(self) -> int:
        """Runs that are done."""
        return len(self._finished)

    @property
    def failed(self) -> int:
        """Runs whose last attempt failed, and that have not begun again."""
        return len(self._failed)

    @property
    def bases_done(self) -> int:
        """Base models that are done."""
        return len(self._bases)

    @property
    def unsettled(self) -> int:
        """Runs that are neither done nor failed."""
        return max(0, self.runs - self.finished - self.failed)

    def more(self, runs: int, bases: int) -> None:
        """There is more to do than was said."""
        self.runs, self.bases = self.runs + runs, self.bases + bases

    def stopping(self) -> None:
        """Says what the first Ctrl-C does."""
        self._line(
            "stopping at the next checkpoint; Ctrl-C again stops now. The same command goes on from there."
        )

    def on_event(self, event: dict[str, Any]) -> None:
        """Counts an event and shows it. Work that is tried again is told of more than once, and counts once."""
        if event["event"] == "started":
            self._started(event)
            return
        if event["event"] == "progress":
            self._translated(event)
            return
        self._current.pop(event.get("trial", ""), None)
        if event["event"] == "dropped":
            self.runs -= 1
            self._bounded(f"{event['label']}: stopped early, its configuration cannot win")
        elif self._is_new(event):
            self._bounded(self._outcome(event))

    def _started(self, event: dict[str, Any]) -> None:
        self._current[event.get("trial", "")] = (event["label"], self.clock())
        if event["kind"] == "run":
            self._failed.discard(event["fingerprint"])
            self._first_run = self.clock() if self._first_run is None else self._first_run
        else:
            doing = "training" if event["kind"] == "base" else "translating"
            self._bounded(f"{event['label']}: {doing}")

    def _is_new(self, event: dict[str, Any]) -> bool:
        """Counts what ended; whether it was not told as done before."""
        if event["kind"] == "corpus":
            return True
        work, done = event["fingerprint"], self._finished if event["kind"] == "run" else self._bases
        if work in done:
            return False
        if event["event"] == "finished":
            done.add(work)
            self._failed.discard(work)
        elif event["kind"] == "run":
            self._failed.add(work)
        return True

    def _translated(self, event: dict[str, Any]) -> None:
        """A line for what a translation stage has done so far, at most every half minute."""
        done, missing, rate = event["texts"], event["missing"], event["rate"]
        now, left = self.clock(), timedelta(seconds=round((missing - done) / rate)) if rate else "…"
        if done < missing and now - self._told < 30:
            return
        self._told = now
        self._line(f"{event['label']}: {done} of {missing} texts, {rate:.1f}/s, {left} left")

    def left(self) -> timedelta | None:
        """Time to the end at the pace since the first run began; None before one is finished."""
        settled = self.finished + self.failed
        if not settled or self._first_run is None:
            return None
        seconds = (self.clock() - self._first_run) / settled * self.unsettled
        return timedelta(seconds=round(seconds))

    def counts(self) -> dict[str, float]:
        """Runs by state, and the seconds left where they are known. From any thread."""
        left = self.left()
        known = {} if left is None else {"seconds_left": left.total_seconds()}
        return {"finished": self.finished, "failed": self.failed, "left": self.unsettled, **known}

    def status(self) -> None:
        """A line that says how far it all is, and how much ended without a line of its own."""
        with self._lock:
            untold, self._untold = self._untold, 0
        left = self.left()
        more = f"; {untold} more ended since the last line" if untold else ""
        self._line(
            f"runs: {self.finished} done, {self.failed} failed, {self.unsettled} left; base models: "
            f"{self.bases_done}/{self.bases}; at work: {len(self._current)}; "
            f"time left: {left if left is not None else 'not known yet'}{more}"
        )

    def _beats(self) -> None:
        while not self._ended.wait(_MINUTE):
            self.status()

    def _bounded(self, text: str) -> None:
        """A line, or in a log that had its lines of the last minute, one more that is only counted."""
        with self._lock:
            now = self.clock()
            if not self._is_live:
                if len(self._lines) == LINES and now - self._lines[0] < _MINUTE:
                    self._untold += 1
                    return
                self._lines.append(now)
        self._line(text)

    def _outcome(self, event: dict[str, Any]) -> str:
        if event["event"] == "failed":
            return f"{self._count()} FAILED {event['label']}: {event.get('error', '')}"
        metrics = event.get("metrics") or {}
        values = "  ".join(
            f"{name} {value:.1f}" for name, value in metrics.items() if value or name != "unparsed"
        )
        seconds = f"  {event['seconds']:.1f} s" if "seconds" in event else ""
        return f"{self._count()} {event['label']}  {values}{seconds}"

    def _count(self) -> str:
        left = self.left()
        eta = f", {left} left" if left else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"[{self.finished + self.failed}/{self.runs}{failed}{eta}]"

    def _line(self, text: str) -> None:
        """A line of the log, with date and time; in a terminal above the live panel, with the time of day.

        Every line comes through here, so that none has a credential.
        """
        text = redacted(text)
        style = "red" if "FAILED" in text else None
        console = self._live.console if self._is_live else self.console
        at = time.strftime("%H:%M:%S" if self._is_live else "%Y-%m-%d %H:%M:%S")
        console.print(Text(f"{at} {text}", style=style or ""), soft_wrap=True)

    def _panel(self) -> Group:
        settled = self.finished + self.failed
        left = self.left()
        head = f"runs {settled}/{self.runs}   base models {self.bases_done}/{self.bases}   "
        head += f"failed {self.failed}   time left {left if left is not None else '…'}"
        bar = ProgressBar(total=max(1, self.runs), completed=settled, width=60)
        now = Table.grid(padding=(0, 2))
        if not self._current:
            now.add_row("worker groups are starting …")
        for label, since in list(self._current.values()):
            now.add_row("▸", label, str(timedelta(seconds=round(self.clock() - since))))
        return Group(Text(head), Columns([bar]), now)
