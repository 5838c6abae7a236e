"""Times by the storage's own clock, which may differ from this machine's."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any


def time_of_full(root: str) -> float:
    """Return the time of a change to a folder itself, which takes no space on a full disk."""
    try:
        os.utime(root)
        return os.stat(root).st_mtime
    except OSError:
        return time.time()


def modified_of(info: dict[str, Any]) -> float | None:
    """When a driver says a file was written; each has its own word for it."""
    for key in ("LastModified", "last_modified", "modified", "mtime", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            return datetime.fromisoformat(value).timestamp()
    return None
