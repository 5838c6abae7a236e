"""Checksums of folders in this machine's cache, so that what is damaged there is made again and never believed.

seal(folder)              # once, when it is whole: writes <folder>.checksums.json beside it
if not is_whole(folder):  # before it is read; each file is read once per machine as long as it does not change
    discard(folder)
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flare_ray.store.digests import has_checksum
from flare_ray.store.manifest import checksum_of


def seal(folder: Path) -> None:
    """Write the checksums of all files of a folder, all or nothing."""
    sums = sums_of(folder)
    scratch = sums.with_name(f"{sums.name}.{uuid.uuid4().hex}")
    files = {path: checksum_of(folder / path) for path in sorted(_files(folder))}
    scratch.write_text(json.dumps({"folder": folder.name, "files": files}, indent=1), encoding="utf-8")
    scratch.replace(sums)


def is_sealed(folder: Path) -> bool:
    """Return whether checksums of a folder were ever written."""
    return sums_of(folder).exists()


def is_whole(folder: Path) -> bool:
    """Return whether a folder has the files that it was sealed with, unchanged, and no others.

    The folder itself may be a link to another disk; the files in it may not.
    """
    try:
        sums = json.loads(sums_of(folder).read_bytes())
        if sums["folder"] != folder.name or set(_files(folder)) != set(sums["files"]):
            return False
        return all(
            not (folder / path).is_symlink() and has_checksum(folder / path, digest)
            for path, digest in sums["files"].items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def discard(folder: Path) -> None:
    """Remove a folder and its checksums; under another name first, since other processes look for it by its own."""
    sums_of(folder).unlink(missing_ok=True)
    damaged = folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):  # another process was faster
        folder.rename(damaged)
    if damaged.is_dir() and not damaged.is_symlink():
        shutil.rmtree(damaged, ignore_errors=True)
    else:
        damaged.unlink(missing_ok=True)


def sums_of(folder: Path) -> Path:
    """Return where a folder's checksums are."""
    return folder.with_name(f"{folder.name}.checksums.json")


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder, links among them."""
    for parent, names, files in os.walk(folder):
        for name in [*files, *(child for child in names if Path(parent, child).is_symlink())]:
            yield Path(parent, name).relative_to(folder).as_posix()
