"""A folder of this machine, or one that it sees as its own (NFS): content is on the disk before it has its name."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from flare_ray.store.manifest import Damaged, blocks, checksum

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a disk, or a user's part of it, says when there is no space left."""


@dataclass(frozen=True)
class Info:
    """A file's size in bytes and when it was written (Unix time by the storage's clock; None if it does not say)."""

    bytes: int
    modified: float | None


def write_new(file: Path, content: bytes) -> None:
    """A local file that no one else writes, down to the disk."""
    with file.open("xb") as stream:
        stream.write(content)
        _to_disk(stream)


def read_regular(path: str) -> bytes:
    """Return a file's content. Raises Damaged for what is no file."""
    with open_regular(path) as stream:
        return stream.read()


def open_regular(path: str) -> BinaryIO:
    """Open a file to be read. Raises Damaged for what is no file: reading a pipe would wait for its writer."""
    try:
        stream = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  (the caller closes it)
    except OSError as error:
        if isinstance(error, IsADirectoryError) or error.errno == errno.ENXIO:  # ENXIO: a socket
            raise Damaged(f"{path} is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise Damaged(f"{path} is not a regular file")
    return stream


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def open_new(target: str, content: bytes) -> bool:
    """For file systems without hard links: a reader may see the file before its content."""
    try:
        with open(target, "xb") as stream:
            stream.write(content)
    except FileExistsError:
        return False
    return True


def copy(file: Path, target: Path) -> tuple[int, str]:
    """Copies a file to a name that is free; bytes and checksum."""
    made, size = checksum(), 0
    with file.open("rb") as source, target.open("xb") as stream:
        for block in blocks(source):
            made.update(block)
            size += stream.write(block)
        _to_disk(stream)
    return size, made.hexdigest()


def _to_disk(stream: Any) -> None:
    """The content before the name: a machine that goes down must not leave a name without content."""
    stream.flush()
    os.fsync(stream.fileno())


def walk(top: str) -> Iterator[tuple[str, Info]]:
    """Every file below a folder, by its path from there; none where there is no folder."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # finished or removed meanwhile
                continue
            yield entry.path[len(top) + 1 :], Info(facts.st_size, facts.st_mtime)


def free_bytes(folder: str) -> int:
    """What a folder's disk has left."""
    return shutil.disk_usage(folder).free
