"""The terminal's streams: what they cannot show is replaced, and a stream that is closed or full ends quietly.

prepare_streams()            # first of all, in every command
with unbreakable_streams():  # around work that must not end with the terminal that watches it
    …
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROKEN_PIPE = 141
"""The exit code of a program whose reader has gone, as shells give it: 128 + SIGPIPE."""


def prepare_streams() -> None:
    """Replace letters that the terminal has not, and open what was closed when the program started."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (until the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if name == "stdout" else "backslashreplace")


def flush_error() -> OSError | None:
    """Return why standard output cannot be written; None where it can. What it still holds is dropped then."""
    try:
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        return error
    except ValueError:  # closed by whoever called the command
        return None
    return None


def drop_output() -> None:
    """Send standard output to nowhere, so that nothing fails when the interpreter flushes it at its end."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # no stream of the system's: a test's, or one that is closed
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    flush_error()


@contextmanager
def unbreakable_streams() -> Iterator[None]:
    """Write to standard output and error as long as they take it; go on without them when they do not."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Unbreakable(sys.stdout), _Unbreakable(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        flush_error()  # what could not be written does not decide how the work ends


class _Unbreakable:
    """A text stream whose writes and flushes do not fail; all else is the stream's own."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            return len(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write what can be written."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
