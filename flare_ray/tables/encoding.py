"""What a text file's first bytes say about it, and where it stops being UTF-8."""

from __future__ import annotations

from pathlib import Path

from flare_ray.errors import InputError, Problem

_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_PACKED = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"PAR1", "Parquet"),
)
_BLOCK = 1 << 16


def check_text(file: Path) -> None:
    """Raise InputError for a file that is no UTF-8 text by its first bytes: UTF-16, an archive, Parquet."""
    with file.open("rb") as stream:
        start = stream.read(_BLOCK)
    for mark, name in _MARKS:
        if start.startswith(mark):
            raise _no_text(file, f"{name} text", f"save it as UTF-8: iconv -f {name} -t UTF-8")
    for mark, name in _PACKED:
        if start.startswith(mark):
            raise _no_text(file, name, "unpack it, or name it by its format")
    if start.count(0) * 4 > len(start) > 3:
        raise _no_text(file, "UTF-16 text without a byte order mark", "save it as UTF-8")


def _no_text(file: Path, got: str, remedy: str) -> InputError:
    kind = file.suffix.removeprefix(".")
    return InputError(str(file), [Problem("", f"{file}: {got}", f"{kind} in UTF-8; {remedy}")])


def undecodable_line(file: Path) -> int | None:
    """Return the number of the first line that is not UTF-8."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None


def line_end(file: Path) -> str:
    r"""Return what ends lines: `\n`, also after a `\r`; `\r` where the file has no other."""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            if b"\n" in block:
                return "\n"
            if b"\r" in block:
                return "\n" if b"\n" in stream.read() else "\r"
    return "\n"
