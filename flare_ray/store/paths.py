"""Paths that data names, checked before anything is read or written there.

A record, a checkpoint's manifest or a report's reference may have been written by somebody else. A path in it is a
relative one, in its plainest form, so that it stays below the folder that it is joined to.
"""

from __future__ import annotations

_LONGEST = 1000  # characters; object stores take 1,024 bytes of a key


def path_problem(path: object) -> str | None:
    """Return what is wrong with a path that data names; None for a plain relative one."""
    if not isinstance(path, str):
        return f"got a {type(path).__name__}; expected a relative path"
    shown = repr(path if len(path) <= 100 else f"{path[:100]}…")
    if not path or len(path) > _LONGEST:
        return f"got {shown}; expected 1 to {_LONGEST} characters"
    if any(ord(letter) < 32 or letter == "\\" for letter in path):
        return f"got {shown}; expected no control character and no backslash"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return f"got {shown}; expected a relative path without '.', '..' and empty parts"
    return None
