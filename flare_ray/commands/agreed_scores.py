"""Scores that were found to be those of their predictions, remembered by this machine: each is computed once.

    agreed = AgreedScores()
    if key not in agreed: …; agreed.add(key)

A line of hex digits for each, in `agreed-scores` of the cache. A damaged line matches nothing, so that its score is
computed again; without a cache nothing is remembered.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import flare_ray
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError
from flare_ray.store.manifest import Manifest

_MOST_BYTES = 2**26


class AgreedScores:
    """The keys that this machine remembers."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        with suppress(OSError, ValueError, InputError):
            file = _place()
            if file.stat().st_size < _MOST_BYTES:
                self._keys = set(file.read_text(encoding="ascii").split())
            else:
                file.unlink()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, key: str) -> None:
        """Remember a key. One write of one line: other processes may add theirs at the same time."""
        self._keys.add(key)
        with suppress(OSError, InputError):
            file = _place()
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab", buffering=0) as stream:
                stream.write(f"{key}\n".encode("ascii"))


def score_key(manifest: Manifest, file: str) -> str | None:
    """Return what identifies a record with its predictions, to this version of the code; None without such a file."""
    digest = next((listed.blake2b for listed in manifest.files if listed.path == file), None)
    if digest is None:
        return None
    return blake2b(f"{flare_ray.__version__} {manifest.record} {digest}".encode(), digest_size=16).hexdigest()


def _place() -> Path:
    return cache_folder() / "agreed-scores"
