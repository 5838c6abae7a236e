"""This machine's cache: what can be made again (the sandbox, file hashes, copies of stored files)."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """FLARE_RAY_CACHE, else ~/.cache/flare_ray."""
    return Path(os.environ.get("FLARE_RAY_CACHE") or "~/.cache/flare_ray").expanduser()
