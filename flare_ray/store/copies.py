"""A record's files as a folder of this machine: the store's own, or a copy in the cache, checked either way."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock

from flare_ray.cache import cache_folder
from flare_ray.store.digests import has_checksum
from flare_ray.store.files import Files
from flare_ray.store.manifest import RECORD, Damaged, Manifest, checksum_of

log = logging.getLogger(__name__)
_DOWNLOADS = 2
"""Downloads with a wrong checksum after which the stored file, and not the connection, is taken for damaged."""


def local_folder(files: Files, place: str, manifest: Manifest | None) -> Path:
    """Return the folder of a record's files. place: `bases/<fingerprint>`.

    Each file is read once per machine as long as it does not change (digests.py). Raises Damaged when a file is not
    what was written; a damaged copy is made again.
    """
    if files.local and not (manifest and manifest.folder):
        folder = Path(files.path(place))
        _check_files(folder, manifest)
        return folder
    kind, _, fingerprint = place.rpartition("/")
    name = f"{fingerprint}-{manifest.token[:8]}" if manifest else fingerprint
    copy = cache_folder() / "store" / blake2b(files.url.encode(), digest_size=6).hexdigest() / kind / name
    for _ in range(2):
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{copy}.lock"):  # the workers of a machine wait for one download
                if not copy.exists():
                    _make_copy(files, place, manifest, copy)
        try:
            _check_files(copy, manifest)
            return copy
        except Damaged as error:
            log.warning("the copy in the cache is damaged and is made anew: %s", error)
            _discard(copy)
    raise Damaged(f"{copy}: the files change as soon as they are written; check the disk of the cache")


def _make_copy(files: Files, place: str, manifest: Manifest | None, copy: Path) -> None:
    scratch = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
    try:
        _fetch_all(files, place, manifest, scratch)
        scratch.rename(copy)
    except OSError:
        if not copy.exists():  # else, where locks do not hold, another worker was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch_all(files: Files, place: str, manifest: Manifest | None, target: Path) -> None:
    target.mkdir(parents=True)
    if manifest is None:
        for name in files.find(place):
            files.fetch(f"{place}/{name}", target / name)
        return
    for file in manifest.files:
        inner = f"{place}/{manifest.folder}/{file.path}" if manifest.folder else f"{place}/{file.path}"
        if not any(_is_fetched(files, inner, target / file.path, file.blake2b) for _ in range(_DOWNLOADS)):
            where = files.for_people(inner)
            raise Damaged(f"{where} is not what was written (checksum); flare-ray store verify --repair")
    files.fetch(f"{place}/{RECORD}", target / RECORD)


def _is_fetched(files: Files, place: str, target: Path, digest: str) -> bool:
    """Copy a file to this machine; return whether it arrived as it was written. Raises Damaged for a missing one."""
    try:
        files.fetch(place, target)
    except FileNotFoundError:
        raise Damaged(f"{files.for_people(place)} is missing") from None
    return checksum_of(target) == digest


def _check_files(folder: Path, manifest: Manifest | None) -> None:
    """Raise Damaged unless a folder has the manifest's files, each what was written and below the folder."""
    top = os.path.realpath(folder)
    for file in manifest.files if manifest else ():
        path = folder / file.path
        if os.path.realpath(path) != os.path.join(top, file.path):
            raise Damaged(f"{path} is reached through a symbolic link")
        try:
            if not has_checksum(path, file.blake2b):
                raise Damaged(f"{path} is not what was written (checksum); flare-ray store verify --repair")
        except FileNotFoundError:
            raise Damaged(f"{path} is missing") from None


def _discard(copy: Path) -> None:
    """Remove a copy, under another name first: other processes look for it by its own."""
    damaged = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):  # another process was faster
        copy.rename(damaged)
    shutil.rmtree(damaged, ignore_errors=True)
