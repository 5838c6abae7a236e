"""The terminal's streams: what they cannot show is replaced, and a stream that is closed or full is named.

with prepared_streams():     # around every command
    …

Work that must not end with the terminal that watches it has streams that cannot fail: flare_ray/console.py.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OUTPUT = "standard output"
BROKEN_PIPE = 141
"""The exit code of a program whose reader has gone, as shells give it: 128 + SIGPIPE."""


@contextmanager
def prepared_streams() -> Iterator[None]:
    """Replace letters that the terminal has not, open what was closed at the start, and name standard output.

    An error of writing to it then says so, as a file's error names the file.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (until the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if name == "stdout" else "backslashreplace")
    before, sys.stdout = sys.stdout, _Named(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = before


def is_of_output(error: BaseException | None) -> bool:
    """Return whether an error is of writing to standard output."""
    return isinstance(error, OSError) and error.filename == OUTPUT


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


class _Stream:
    """A text stream whose errors are treated in some way; all else is the stream's own."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        with self._treated():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._treated():
            self._stream.flush()

    @contextmanager
    def _treated(self) -> Iterator[None]:
        yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Named(_Stream):
    """Standard output, named in its errors."""

    @contextmanager
    def _treated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = OUTPUT
            raise
