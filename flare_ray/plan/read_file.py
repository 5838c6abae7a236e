"""Read small files that somebody else wrote: only regular files, only up to a size, only UTF-8.

    read_bytes(Path("config.json"), 1 << 20)
    decode(b"name: caf\\xe9")       # Unreadable: line 1: byte 0xe9 at column 10 …

A FIFO or a device would keep its reader for ever, so what a path leads to is looked at before it is read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_OTHER_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(ValueError):
    """A file that cannot be read as expected. found, wanted: the two parts of a Problem."""

    def __init__(self, found: str, wanted: str):
        super().__init__(f"{found}; expected {wanted}")
        self.found, self.wanted = found, wanted


def read_bytes(file: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raises Unreadable."""
    try:
        _check_kind(os.stat(file).st_mode, file)
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            _check_kind(os.fstat(descriptor).st_mode, file)  # another file may have taken the name since
            content = stream.read(most + 1)  # nothing for -1
    except (OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise _of_error(file, error) from error
    if len(content) > most >= 0:
        raise Unreadable(f"{file}, of more than {most:,} bytes", f"at most {most:,} bytes")
    return content


def check_readable(file: Path) -> None:
    """Raise Unreadable for what is no regular file, or may not be read; reads none of it."""
    read_bytes(file, -1)


def decode(content: bytes) -> str:
    """Return UTF-8 bytes as text, without a byte-order mark. Raises Unreadable with the line of any other byte."""
    for mark, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32")):
        if content.startswith(mark):
            raise Unreadable(f"line 1: bytes that cannot be decoded: {name}", _UTF_8)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        got = f"line {line}: byte 0x{error.object[error.start]:02x} at byte {column} of the line cannot be decoded"
        raise Unreadable(got, _UTF_8) from error


_UTF_8 = "UTF-8 text, whatever the locale is; for example: iconv -f LATIN1 -t UTF-8 FILE"


def _check_kind(mode: int, file: Path) -> None:
    for is_kind, name in _OTHER_KINDS:
        if is_kind(mode):
            raise Unreadable(f"{file}, which is {name}", "a regular file")


def _of_error(file: Path, error: OSError | ValueError) -> Unreadable:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENOTDIR):
        if os.path.islink(file):
            return Unreadable(f"{file}, a link to nothing", "a file, or a link to one")
        return Unreadable(f"no file {file}", "a file")
    if code == errno.EACCES:
        return Unreadable(
            f"{file}, which may not be read (permission denied)", "a file that this account may read"
        )
    reason = os.strerror(code) if code else str(error)
    return Unreadable(f"{file}: {reason}", "a file that can be read")
