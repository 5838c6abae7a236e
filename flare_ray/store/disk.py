"""A folder of this machine, or one that it sees as its own (NFS): content is on the disk before it has its name."""

from __future__ import annotations

import errno
import os
import re
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
    """A file's size in bytes and when it was written (Unix time by the storage's clock; None if it does not say).

    regular: False for a link, a pipe, a socket or a device.
    """

    bytes: int
    modified: float | None
    regular: bool = True


def write_new(file: Path, content: bytes) -> None:
    """A local file that no one else writes, down to the disk."""
    with file.open("xb") as stream:
        stream.write(content)
        _to_disk(stream)


def read_regular(path: str) -> bytes:
    """Return a file's content. Raises Damaged for what is not a file."""
    with open_regular(path) as stream:
        return stream.read()


def open_regular(path: str) -> BinaryIO:
    """Open a file to be read. Raises Damaged for what is not a file: reading a pipe would wait for its writer."""
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


def take_away(path: str, target: Path, unless: str | None) -> bool:
    """Rename a folder to a target, unless it has a file of this name by then; return whether it is there now."""
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return False
    if unless is None or not os.path.lexists(target / unless):
        return True
    try:
        os.rename(target, path)
    except OSError:
        if not os.path.lexists(f"{path}/{unless}"):  # else another writer's is there, as whole as this one
            raise
    return False


def mounts_below(folder: str) -> set[str]:
    """Return where other file systems are mounted below a folder, by their paths from there; on Linux."""
    top = os.path.realpath(folder).rstrip("/") + "/"
    try:
        lines = (
            Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        )
    except OSError:
        return set()
    mounts = (_unescaped(line.split(" ")[4]) for line in lines)
    return {mount.removeprefix(top) for mount in mounts if mount.startswith(top)}


def _unescaped(path: str) -> str:
    """Return a path of mountinfo, in which spaces and such are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def check_removable(root: str, place: str) -> None:
    """Raise OSError when removing a file or folder would reach beyond the root: through a link, or into a mount."""
    path = root
    for part in place.split("/")[:-1]:
        path = f"{path}/{part}"
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise OSError(errno.ELOOP, "is a link, or no folder: nothing is removed through it", path)
    target = f"{root}/{place}"
    status = os.lstat(target)
    if not stat.S_ISDIR(status.st_mode):
        return
    mounted = any(f"{mount}/".startswith(f"{place}/") for mount in mounts_below(root))
    if mounted or status.st_dev != os.stat(path).st_dev:
        raise OSError(errno.EBUSY, "is a mount point, or has one inside", target)


def _to_disk(stream: Any) -> None:
    """The content before the name: a machine that goes down must not leave a name without content."""
    stream.flush()
    os.fsync(stream.fileno())


def walk(top: str) -> Iterator[tuple[str, Info]]:
    """Every file below a folder, by its path from there; none where there is not a folder."""
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
            regular = stat.S_ISREG(facts.st_mode)
            yield entry.path[len(top) + 1 :], Info(facts.st_size, facts.st_mtime, regular)


def free_bytes(folder: str) -> int:
    """What a folder's disk has left."""
    return shutil.disk_usage(folder).free
