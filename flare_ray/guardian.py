"""A guardian: a small process that ends what its parent leaves behind, however the parent ends.

    guardian = Guardian(folders=[private])      # or Guardian(group=process.pid)

It waits until its end of a pipe closes, which the kernel does even for a parent that is killed. Then it kills the
processes of a group, or those that have files below a folder open for writing, and removes that folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_QUIET_SECONDS = 1.0
"""Seconds without a process left before the work counts as done: one that dies may have started another."""
_LONGEST = 30.0
_KEEP, _DISMISS = b"k", b"d"


class Guardian:
    """The parent's side. Its process takes no part in signals to the parent's group.

    group: a process group to end. folders: places whose writers are ended, and which are removed after that; those of
    `kept` are emptied of writers alone.
    """

    def __init__(self, group: int | None = None, folders: Sequence[Path] = (), kept: Sequence[Path] = ()):
        command = [sys.executable, "-P", __file__, "--parent", str(os.getpid())]
        command += ["--group", str(group)] if group is not None else []
        command += [word for folder in folders for word in ("--folder", str(folder))]
        command += [word for folder in kept for word in ("--kept", str(folder))]
        reading, self._pipe = os.pipe()  # a bare number: nothing closes it before the process has ended
        self._process = subprocess.Popen(
            command,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(reading)
        self.pid = self._process.pid

    def keep(self) -> None:
        """Leave the folders in place when the parent ends: somebody will look into them."""
        self._write(_KEEP)

    def dismiss(self) -> None:
        """End the guardian alone: nothing is left to be ended."""
        self._write(_DISMISS)
        self.close()

    def close(self, seconds: float = _LONGEST) -> None:
        """Let the guardian do its work now, and wait for it."""
        with suppress(OSError):
            os.close(self._pipe)
        self._pipe = -1
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _write(self, word: bytes) -> None:
        with suppress(OSError):
            os.write(self._pipe, word)


def end_group(group: int) -> bool:
    """Kill a process group; return whether any process of it was alive."""
    import psutil

    any_left = False
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
                any_left = True
    return any_left


def end_writers(folders: Sequence[Path], spared: Sequence[int] = ()) -> bool:
    """Kill the processes that have a file below one of the folders open for writing; return whether there was one.

    spared: processes that are left alone.
    """
    import psutil

    any_left = False
    for pid in psutil.pids():
        if pid not in (os.getpid(), *spared) and _writes(pid, folders):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                any_left = True
    return any_left


def _writes(pid: int, folders: Sequence[Path]) -> bool:
    """Whoever only reads, as `tail -f` on a log, is none of ours."""
    import psutil

    try:
        opened = psutil.Process(pid).open_files()
    except (psutil.Error, OSError):
        return False
    return any(
        getattr(file, "mode", "w") != "r" and Path(file.path).is_relative_to(folder)
        for file in opened
        for folder in folders
    )


def _repeat(step: Callable[[], bool]) -> None:
    """Take a step until it found nothing for a while."""
    deadline, quiet = time.monotonic() + _LONGEST, time.monotonic() + _QUIET_SECONDS
    while time.monotonic() < min(deadline, quiet):
        if step():
            quiet = time.monotonic() + _QUIET_SECONDS
        time.sleep(0.1)


def main(words: Sequence[str] | None = None) -> None:
    """Wait for the end of the parent, then end what it left."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("--kept", type=Path, action="append", default=[])
    options = parser.parse_args(words)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    said = sys.stdin.buffer.read()
    if _DISMISS in said:
        return
    if options.group is not None:
        _repeat(lambda: end_group(options.group))
    folders = [folder.resolve() for folder in (*options.folder, *options.kept)]
    if folders:
        _repeat(lambda: end_writers(folders, [options.parent]))
    if _KEEP not in said:
        for folder in options.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
