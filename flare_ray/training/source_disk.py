"""Source states on this machine's disk, for the packs that come after: written once, read by memory map.

    <root>/<fingerprint>/about.json                 what the name stands for; bytes; shards, sizes, checksums
    <root>/<fingerprint>/states-00000.safetensors   states.<stack> [tokens, fused layers, d], starts [sequences + 1]
    <root>/<fingerprint>.<token>.unfinished/        what is being written

An entry gets its name when it is whole: of two processes that write the same one the first is kept. Entries within a
budget stay; the least recently opened make room. One that is removed can still be read by who has it open.

    disk = SourceDisk(root, max_bytes=50e9)
    with disk.alone(name):  # one process computes, the others wait for it
        found = disk.open(name) or disk.write(name, about, size, passes)
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, overload

import numpy as np
import psutil
import torch

from flare_ray.store.digests import has_checksum
from flare_ray.store.manifest import checksum_of

log = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same text would get other states, or the files another form."""
SHARD_BYTES = 512 << 20
_ABOUT = "about.json"
_NAME = "entry"
"""In about.json: the entry's name, by which one in another's place is noticed."""
_UNFINISHED = ".unfinished"
_OLD = 3600.0
"""Seconds without a write after which another machine's unfinished entry is a dead process's."""

States = tuple[torch.Tensor, ...]
"""Of one sequence, one tensor per fused stack: [m, fused layers, d], or a translation encoder's [m, d_M]."""


class OnDisk(Sequence[States]):
    """The states of an entry in the order in which they were written; values are read when they are used."""

    def __init__(self, folder: Path, shards: Sequence[tuple[States, np.ndarray]]):
        self.folder = folder
        self._stacks = [stacks for stacks, _ in shards]
        counts = [len(starts) - 1 for _, starts in shards]
        self._shard = np.repeat(np.arange(len(shards)), counts)
        self._first = np.concatenate([starts[:-1] for _, starts in shards])
        self._end = np.concatenate([starts[1:] for _, starts in shards])

    def __len__(self) -> int:
        return len(self._shard)

    @overload
    def __getitem__(self, place: int) -> States: ...
    @overload
    def __getitem__(self, place: slice) -> list[States]: ...
    def __getitem__(self, place: int | slice) -> States | list[States]:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        return tuple(
            stack[self._first[place] : self._end[place]] for stack in self._stacks[self._shard[place]]
        )


class SourceDisk:
    """A folder of entries within a budget; any number of processes may read and write it."""

    def __init__(self, root: Path, max_bytes: float, shard_bytes: int = SHARD_BYTES):
        self.root, self.max_bytes, self.shard_bytes = root, max_bytes, shard_bytes

    def alone(self, name: str) -> AbstractContextManager[Any]:
        """For one process of the machine at a time; where a file system has no locks, for all."""
        from filelock import FileLock

        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / f"{name}.lock")

    def open(self, name: str) -> OnDisk | None:
        """An entry, whole, and from now on the most recently used; None where there is none."""
        folder = self.root / name
        if not folder.exists():
            return None
        shards = _whole(folder)
        if shards is None:
            log.warning("%s is not whole: its states are computed again", folder)
            self._remove(folder)
            return None
        self.touch(folder)
        return OnDisk(folder, shards)

    def touch(self, folder: Path) -> bool:
        """Marks an entry as used; whether it is still there."""
        try:
            os.utime(folder / _ABOUT)
            return True
        except FileNotFoundError:
            return False

    def write(
        self, name: str, about: Mapping[str, Any], size: int, passes: Iterable[Sequence[States]]
    ) -> OnDisk | None:
        """Makes an entry of some bytes from passes over sequences; None where there is no room for it.

        Memory: one shard. Whoever else has given the name meanwhile is first: their entry is read.
        """
        scratch = self._reserved(name, about, size)
        if scratch is None:
            return None
        try:
            shards, sums = {}, {}
            for number, pieces in enumerate(self._shards(passes)):
                file = scratch / f"states-{number:05}.safetensors"
                _save(file, pieces)
                shards[file.name], sums[file.name] = file.stat().st_size, checksum_of(file)
            whole = {"bytes": sum(shards.values()), "shards": shards, "checksums": sums, _NAME: name}
            _write_about(scratch, {**about, **whole})  # no writer: whole
            try:
                scratch.rename(self.root / name)
            except OSError:
                if not (self.root / name).exists():
                    raise
        except OSError as error:
            log.warning("source states are not kept on disk: %s: %s", type(error).__name__, error)
            return None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return self.open(name)

    def _shards(self, passes: Iterable[Sequence[States]]) -> Iterator[list[States]]:
        """Whole passes in shards of at most `shard_bytes`, or one pass."""
        pieces: list[States] = []
        held = 0
        for found in passes:
            more = sum(map(size_of, found))
            if pieces and held + more > self.shard_bytes:
                yield pieces
                pieces, held = [], 0
            pieces += found
            held += more
        if pieces:
            yield pieces

    def _reserved(self, name: str, about: Mapping[str, Any], size: int) -> Path | None:
        """A folder to write into, counted with its whole size from now on; None where there is no room."""
        from filelock import FileLock

        with FileLock(self.root / "lock"):
            if not self._room(size):
                log.warning("no room for %.1f GB of source states in %s", size / 1e9, self.root)
                return None
            scratch = self.root / f"{name}.{uuid.uuid4().hex}{_UNFINISHED}"
            scratch.mkdir()
            _write_about(scratch, {**about, "bytes": size, "writer": _writer(os.getpid())})
        return scratch

    def _room(self, size: int) -> bool:
        """Whether so much more fits, once the least recently used made room for it."""
        if size > self.max_bytes:
            return False
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        held = sum(bytes_ for _, _, bytes_, _ in entries)

        def fits() -> bool:
            return held + size <= self.max_bytes and size <= shutil.disk_usage(self.root).free

        for folder, used, bytes_, writer in entries:
            if _dead(writer, used) if writer else not fits():
                self._remove(folder)
                held -= bytes_
        return fits()

    def _entries(self) -> Iterator[tuple[Path, float, int, Mapping[str, Any] | None]]:
        """Folders, when they were last used or written to, their bytes, and of unfinished ones the writer."""
        for folder in self.root.iterdir():
            try:
                about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
                written = max(entry.stat().st_mtime for entry in os.scandir(folder))
                used = (folder / _ABOUT).stat().st_mtime
            except (OSError, ValueError):
                continue
            writer = about.get("writer")
            yield folder, written if writer else used, about["bytes"], writer

    def _remove(self, folder: Path) -> None:
        """Its name goes at once."""
        gone = self.root / f"{folder.name}.{uuid.uuid4().hex}{_UNFINISHED}"
        try:
            folder.rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)


def size_of(states: States) -> int:
    """Bytes of a sequence's states."""
    return sum(tensor.nbytes for tensor in states)


def _writer(pid: int) -> dict[str, Any] | None:
    """A process of this machine, told from a later one of the same number; None when there is none."""
    try:
        return {"host": socket.gethostname(), "pid": pid, "since": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return None


def _dead(writer: Mapping[str, Any], written: float) -> bool:
    if writer["host"] == socket.gethostname():
        return writer != _writer(writer["pid"])
    return time.time() - written > _OLD


def _write_about(folder: Path, about: Mapping[str, Any]) -> None:
    (folder / _ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")


def _save(file: Path, pieces: Sequence[States]) -> None:
    """A shard, down to the disk."""
    from safetensors.torch import save_file

    stacks = {f"states.{k}": torch.cat(parts) for k, parts in enumerate(zip(*pieces, strict=True))}
    starts = np.concatenate([[0], np.cumsum([len(states[0]) for states in pieces])])
    save_file({**stacks, "starts": torch.tensor(starts)}, file)
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _whole(folder: Path) -> list[tuple[States, np.ndarray]] | None:
    """The shards of an entry; None where one is not whole."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        if about[_NAME] != folder.name:
            return None
        listed = [(folder / file, about["checksums"][file]) for file in about["shards"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    found = [_shard(file, digest) for file, digest in listed]
    return None if None in found else [shard for shard in found if shard is not None]


def _shard(file: Path, digest: str) -> tuple[States, np.ndarray] | None:
    """The stacks of a shard by memory map, and where each sequence begins; None where it is not whole."""
    from safetensors import SafetensorError, safe_open

    try:
        if not has_checksum(file, digest):
            return None
        with safe_open(file, "pt") as tensors:
            names = sorted((name for name in tensors.keys() if name != "starts"), key=_stack)  # noqa: SIM118
            return tuple(map(tensors.get_tensor, names)), tensors.get_tensor("starts").numpy().copy()
    except (SafetensorError, OSError):
        return None


def _stack(name: str) -> int:
    return int(name.partition(".")[2])
