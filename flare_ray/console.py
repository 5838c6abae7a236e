"""Output that cannot fail: what only shows must not end what it shows.

A full disk under a log, a closed pipe, a terminal that is gone: each failing write is dropped, the first one is named
on standard error where that still works, and later ones are tried again.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from flare_ray.redaction import redacted

log = logging.getLogger(__name__)


class Tolerant:
    """A text stream in front of another one, whose writes and flushes never raise.

    name: of the stream, for the one line about its first failure; None for no such line.
    """

    def __init__(self, stream: Any, name: str | None = None):
        self._stream, self._name, self._failed = stream, name, False
        self._raw = _raw(stream)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        try:
            if self._raw is None:
                self._stream.write(text)
            else:
                self._write_bytes(text)
        except (
            OSError,
            ValueError,
        ) as error:  # ValueError: the stream is closed, or has no letter for the text
            self._note(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each line, or drop it."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what a stream without a file descriptor holds back."""
        if self._raw is None:
            with suppress(OSError, ValueError):
                self._stream.flush()

    def _write_bytes(self, text: str) -> None:
        """Past all buffers: one that holds what cannot be written would fail again at the end of the process."""
        assert self._raw is not None
        errors = self._stream.errors or "strict"
        content = text.encode(self._stream.encoding or "utf-8", "replace" if errors == "strict" else errors)
        while content:
            content = content[os.write(self._raw, content) :]

    def _note(self, error: Exception) -> None:
        if self._failed or self._name is None:
            return
        self._failed = True
        reason = error.strerror if isinstance(error, OSError) else str(error)
        with suppress(OSError, ValueError, AttributeError):
            line = f"flare-ray: {self._name} cannot be written ({reason}); the work goes on without it\n"
            os.write(2, line.encode())


def _raw(stream: Any) -> int | None:
    """Return the file descriptor of a text stream, with an empty buffer; None where there is none."""
    stream = getattr(
        stream, "_stream", stream
    )  # of the one that a command puts in front (commands/streams.py)
    if not isinstance(stream, io.TextIOWrapper):
        return None
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return None
    try:
        stream.flush()
    except (OSError, ValueError):
        _drop_buffer(stream, number)
    return number


def _drop_buffer(stream: io.TextIOWrapper, number: int) -> None:
    """Flush into nothing what can be written nowhere else: it would be tried again when the process ends."""
    saved, nothing = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, number)
        with suppress(OSError, ValueError):
            stream.flush()
        os.dup2(saved, number)
    finally:
        os.close(saved)
        os.close(nothing)


def tolerate(console: Console) -> Console:
    """Let a console's writes never fail; return it."""
    if console._file is not None and not isinstance(console._file, Tolerant):
        console.file = Tolerant(console._file)  # type: ignore[assignment]
    return console


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Let what this process writes to standard output and error never fail."""
    before = sys.stdout, sys.stderr
    replace_streams()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def replace_streams() -> None:
    """Let standard output and error never fail from now on."""
    _open_standard_files()
    sys.stdout = _tolerant(sys.stdout, "standard output")
    sys.stderr = _tolerant(sys.stderr, None)


def _tolerant(stream: Any, name: str | None) -> Any:
    if stream is None:  # closed before this process began
        return Tolerant(open(os.devnull, "w", encoding="utf-8"))
    return stream if isinstance(stream, Tolerant) else Tolerant(stream, name)


def _open_standard_files() -> None:
    """Take the numbers of closed standard files: the next file opened would get one, and the log lines with it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


@contextmanager
def only_shows(without: str) -> Iterator[None]:
    """Do what the work itself does not need; an error of it becomes a warning. without: what is missing then."""
    try:
        yield
    except Exception as error:  # the boundary between the work and what shows it
        log.warning("%s: %s", without, redacted(f"{type(error).__name__}: {error}"))
