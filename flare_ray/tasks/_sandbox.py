"""The sandbox in this machine's cache: built when it is missing, and built again when a file of it is damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flare_ray.checked_cache import discard, is_sealed, is_whole, seal

log = logging.getLogger(__name__)
_checked: set[Path] = set()
"""Sandboxes that this process has checked."""


def built_sandbox(cache: Path, report: Callable[[str], None] | None = None) -> Path:
    """Return the sandbox's folder, checked once per process. report: called with a line as the build gets on.

    Raises RuntimeError when the build fails, OSError when the cache cannot be written and there is no sandbox in it.
    """
    from filelock import FileLock

    from flare_ray.sandbox.build import ensure, folder_of

    folder = folder_of(cache)
    if folder in _checked and folder.is_dir():
        return folder
    if not is_whole(folder):
        if is_sealed(folder) or not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f"{folder.name}.checking.lock"):
                if folder.exists() and is_sealed(folder) and not is_whole(folder):
                    log.warning("%s is not what was built: it is built again", folder)
                    discard(folder)
                ensure(cache, report)
                if not is_sealed(folder):
                    seal(folder)
        else:  # of an earlier version, or built by `python -m flare_ray.sandbox`
            with suppress(OSError):  # in a cache that can only be read
                seal(folder)
    _checked.add(folder)
    return folder
