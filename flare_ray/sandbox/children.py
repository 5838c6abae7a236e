"""Processes that build the models, several at a time, one thread each.

At most as many run at once as this process may use CPUs. Each is deterministic by itself, so how many run
beside it changes nothing but the time. If one fails, all end and its last lines are told.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

Report = Callable[[str], None]

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def cpus() -> int:
    """CPUs that this process may use; 1 where that is not to be known."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return 1


class Child:
    """One running build of a model."""

    def __init__(self, model: str, folder: Path, small: bool) -> None:
        self.model = model
        self.command = [sys.executable, "-m", "flare_ray.sandbox.pretraining", str(folder), model]
        self.command += ["--small"] if small else []
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed by `end`)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,  # held open: the child ends when it closes
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **_ENVIRONMENT},
            text=True,
            encoding="utf-8",
        )

    def follow(self, lines: queue.Queue[tuple[Child, str | None]]) -> None:
        """Puts every line of the child's output on `lines`, and None at its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.put((self, line.rstrip()))
        lines.put((self, None))

    def check(self) -> None:
        """Waits for the end.

        Raises:
            RuntimeError: the child failed; the message ends with its last lines.
        """
        code = self.process.wait()
        if code:
            self.errors.seek(0)
            tail = "\n".join(self.errors.read().splitlines()[-15:])
            raise RuntimeError(
                f"building the sandbox failed ({' '.join(self.command)}, exit code {code}):\n{tail}"
            )

    def end(self) -> None:
        """Ends the process if it still runs."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.errors):
            if pipe is not None:
                pipe.close()


def run(models: Sequence[str], folder: Path, small: bool, report: Report, slots: int | None = None) -> None:
    """Builds `models` into `folder`, the first ones first, `slots` at a time (default: `cpus`).

    Raises:
        RuntimeError: one failed; the others have been ended.
    """
    waiting, running = list(models), set[Child]()
    lines: queue.Queue[tuple[Child, str | None]] = queue.Queue()
    try:
        while waiting or running:
            while waiting and len(running) < (slots or cpus()):
                child = Child(waiting.pop(0), folder, small)
                running.add(child)
                threading.Thread(target=child.follow, args=(lines,), daemon=True).start()
            child, line = lines.get()
            if line is not None:
                report(f"{child.model}: {line}")
                continue
            child.check()
            running.remove(child)
            child.end()
    finally:
        for child in running:
            child.end()
