"""This machine's cache: what can be made again (the sandbox, file hashes, copies of stored files)."""

from __future__ import annotations

import os
from pathlib import Path

from flare_ray.errors import InputError, Problem


def cache_folder() -> Path:
    """Return FLARE_RAY_CACHE, else ~/.cache/flare_ray. Raises InputError where there is no home."""
    given = os.environ.get("FLARE_RAY_CACHE") or "~/.cache/flare_ray"
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        got = f"{given!r}, and no home folder of uid {os.getuid()}"
        expected = "FLARE_RAY_CACHE: a folder that can be written, or HOME"
        raise InputError("cache", [Problem("FLARE_RAY_CACHE", got, expected)]) from error
