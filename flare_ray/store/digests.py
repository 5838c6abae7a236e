"""Checksums of local files, computed once as long as a file does not change: a base model of 16 GB is read once.

A file is known by its path, device, inode, size and times of change. What is remembered lies in this machine's cache
and is only a help: where it cannot be read or written, or does not agree, the file itself is read.
"""

from __future__ import annotations

import logging
import os
from hashlib import blake2b
from pathlib import Path

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError
from flare_ray.store.manifest import checksum_of

log = logging.getLogger(__name__)
_REMEMBERED = 2**20
"""Bytes from which a checksum is worth a file in the cache; smaller files are read once per process."""
_in_process: dict[str, str] = {}


def has_checksum(file: Path, expected: str) -> bool:
    """Return whether a local file has this checksum (BLAKE2b of 20 bytes, in hex). Raises FileNotFoundError."""
    key, size = _key(file)
    if _in_process.get(key) == expected or (size >= _REMEMBERED and _remembered(key) == expected):
        return True
    actual = checksum_of(file)  # what is remembered may be damaged too: the file decides
    if actual == expected and _key(file)[0] == key:
        _in_process[key] = actual
        if size >= _REMEMBERED:
            _remember(key, actual)
    return actual == expected


def _key(file: Path) -> tuple[str, int]:
    status = file.stat()
    parts = (
        os.path.abspath(file),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return blake2b(
        "\0".join(map(str, parts)).encode(errors="surrogateescape"), digest_size=16
    ).hexdigest(), status.st_size


def _place(key: str) -> Path:
    return cache_folder() / "checksums" / key


def _remembered(key: str) -> str | None:
    try:
        return _place(key).read_text(encoding="ascii")
    except (OSError, ValueError, InputError):
        return None


def _remember(key: str, digest: str) -> None:
    try:
        file = _place(key)
        scratch = file.with_name(f"{key}.{os.getpid()}")
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(digest, encoding="ascii")
        scratch.replace(file)
    except (OSError, InputError) as error:
        log.debug("checksum not remembered: %s", error)
