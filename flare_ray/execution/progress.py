"""What runs, what is left and how long it will take: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Progress:
    """Listens to the driver's events. Use as a context manager around the execution."""

    def __init__(self, console: Console, runs: int, bases: int):
        self.console, self.runs, self.bases = console, runs, bases
        self.finished = self.failed = self.bases_done = 0
        self._current: dict[str, tuple[str, float]] = {}
        self._first_run: float | None = None
        self._told = 0.0
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=2)
        self._is_live = console.is_terminal

    def __enter__(self) -> Progress:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._current.clear()
        if self._is_live:
            self._live.stop()

    def more(self, runs: int, bases: int) -> None:
        """There is more to do than was said."""
        self.runs, self.bases = self.runs + runs, self.bases + bases

    def stopping(self) -> None:
        """Says what the first Ctrl-C does."""
        self._line(
            "stopping at the next checkpoint; Ctrl-C again stops now. The same command goes on from there."
        )

    def on_event(self, event: dict[str, Any]) -> None:
        """Counts an event and shows it."""
        trial = event.get("trial", "")
        if event["event"] == "started":
            self._current[trial] = (event["label"], time.monotonic())
            if event["kind"] == "run" and self._first_run is None:
                self._first_run = time.monotonic()
            if event["kind"] != "run":
                doing = "training" if event["kind"] == "base" else "translating"
                self._line(f"{event['label']}: {doing}")
            return
        if event["event"] == "progress":
            self._translated(event)
            return
        self._current.pop(trial, None)
        if event["event"] == "dropped":
            self.runs -= 1
            self._line(f"{event['label']}: stopped early, its configuration cannot win")
            return
        if event["kind"] == "base":
            self.bases_done += event["event"] == "finished"
        elif event["kind"] == "corpus":
            pass
        elif event["event"] == "finished":
            self.finished += 1
        else:
            self.failed += 1
        self._line(self._outcome(event))

    def _translated(self, event: dict[str, Any]) -> None:
        """A line for what a translation stage has done so far, at most every half minute."""
        done, missing, rate = event["texts"], event["missing"], event["rate"]
        now, left = time.monotonic(), timedelta(seconds=round((missing - done) / rate)) if rate else "…"
        if done < missing and now - self._told < 30:
            return
        self._told = now
        self._line(f"{event['label']}: {done} of {missing} texts, {rate:.1f}/s, {left} left")

    def left(self) -> timedelta | None:
        """Time to the end at the pace since the first run began; None before one is finished."""
        settled = self.finished + self.failed
        if not settled or self._first_run is None:
            return None
        seconds = (time.monotonic() - self._first_run) / settled * (self.runs - settled)
        return timedelta(seconds=round(seconds))

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
        return f"[{self.finished + self.failed}/{self.runs}{eta}]"

    def _line(self, text: str) -> None:
        """A line of the log, with the time of day; above the live panel when there is one."""
        style = "red" if "FAILED" in text else None
        console = self._live.console if self._is_live else self.console
        console.print(Text(f"{time.strftime('%H:%M:%S')} {text}", style=style or ""), soft_wrap=True)

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
            now.add_row("▸", label, str(timedelta(seconds=round(time.monotonic() - since))))
        return Group(Text(head), Columns([bar]), now)
