"""This machine's cache: what can be made again (the sandbox, file hashes, copies of stored files)."""

from __future__ import annotations

import os
from pathlib import Path

from flare_ray.errors import InputError, Problem

VARIABLE, DEFAULT = "FLARE_RAY_CACHE", "~/.cache/flare_ray"


def cache_folder() -> Path:
    """Return FLARE_RAY_CACHE, else ~/.cache/flare_ray. Raises InputError where there is no home."""
    given = os.environ.get(VARIABLE) or DEFAULT
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        got = f"{given!r}, and no home folder of uid {os.getuid()}"
        expected = f"{VARIABLE}: a folder that can be written, or HOME"
        raise InputError("cache", [Problem(VARIABLE, got, expected)]) from error
