"""What a node tells of itself, and what it sees of the store and of local folders. Imports neither torch nor ray.

It runs on the node: as a Ray task on a cluster, as a call on a single machine.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from flare_ray.cache import cache_folder
from flare_ray.execution.provenance import code
from flare_ray.preflight.here import existing, installed
from flare_ray.redaction import redacted
from flare_ray.store.files import Files

COMPARED = ("ray", "torch", "transformers", "peft", "deepspeed", "bitsandbytes", "datasets", "numpy")
_LISTED = 2000
"""Files of a folder that are looked at."""
_ASK_SECONDS = 20


@dataclass(frozen=True)
class Gpu:
    """A GPU by its maker's name, and its memory in bytes."""

    name: str
    bytes: float


@dataclass(frozen=True)
class Asked:
    """What every node is asked. place: the probe's folder in the store; folders: local ones that work reads."""

    storage: str
    place: str
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """What one node answers.

    versions: of packages, Python and the operating system; code: hash of this package's source. clock: Unix time.
    memory, cache_free: bytes. gpus: None where nobody can tell. storage: what is wrong with it, "" when nothing is.
    folders: a hash of names and sizes by path, None for one that is not there.
    """

    name: str
    versions: dict[str, str]
    code: str
    clock: float
    memory: float
    cache: str
    cache_free: float
    gpus: tuple[Gpu, ...] | None
    storage: str
    folders: dict[str, str | None]


def probe(asked: Asked, key: str) -> Node:
    """Looks at this node. key: its name in the store."""
    import psutil

    cache = existing(cache_folder())
    return Node(
        name=socket.gethostname(),
        versions={"python": platform.python_version()}
        | {name: have for name in COMPARED if (have := installed(name))},
        code=code(),
        clock=time.time(),
        memory=float(psutil.virtual_memory().total),
        cache=str(cache),
        cache_free=float(shutil.disk_usage(cache).free),
        gpus=gpus(),
        storage=_storage(asked, key),
        folders={folder: listed(folder) for folder in asked.folders},
    )


def gpus() -> tuple[Gpu, ...] | None:
    """NVIDIA's, by the driver's own tool: a task without GPUs sees none by CUDA. None where there is no such tool."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_ASK_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parsed(done.stdout)


def parsed(text: str) -> tuple[Gpu, ...]:
    """Lines `name, MiB`; a memory that is not told is left out."""
    pieces = (line.rpartition(",") for line in text.splitlines())
    return tuple(
        Gpu(name.strip(), float(amount) * 2**20) for name, _, amount in pieces if amount.strip().isdecimal()
    )


def listed(folder: str) -> str | None:
    """A hash of the names and sizes of a folder's files: contents of gigabytes are not read for this."""
    root = Path(folder)
    if not root.exists():
        return None
    whole = blake2b(digest_size=8)
    for path in _files(root):
        whole.update(f"{os.path.relpath(path, root)}\0{path.stat().st_size}\0".encode())
    return whole.hexdigest()


def _files(root: Path) -> Sequence[Path]:
    """Sorted; only so many of a folder that has very many."""
    if root.is_file():
        return [root]
    found: list[Path] = []
    for top, folders, names in os.walk(root):
        folders.sort()
        found += [Path(top, name) for name in sorted(names) if os.path.exists(os.path.join(top, name))]
        if len(found) > _LISTED:
            break
    return found[:_LISTED]


def _storage(asked: Asked, key: str) -> str:
    """Whether this node sees what the driver wrote, and can write."""
    try:
        files = Files(asked.storage)
        try:
            files.read(f"{asked.place}/driver")
        except FileNotFoundError:
            return "does not see what the driver wrote there"
        files.write(f"{asked.place}/{key}", b"")
    except Exception as error:  # the boundary to drivers of all kinds
        return redacted(f"{type(error).__name__}: {error}")
    return ""
