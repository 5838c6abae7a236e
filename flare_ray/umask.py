"""File permissions: new files belong to their owner alone, unless FLARE_RAY_UMASK lets a group in.

A process hands its umask on to those that it starts, Ray's among them. Workers on other machines set it themselves.
Files and folders that exist keep their permissions.
"""

from __future__ import annotations

import os

from flare_ray.errors import InputError, Problem

VARIABLE = "FLARE_RAY_UMASK"
PRIVATE = 0o077


def umask() -> int:
    """Return the permission bits that new files do not get. Raises InputError where FLARE_RAY_UMASK is no umask."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return PRIVATE
    digits = text.removeprefix("0o")
    value = int(digits, 8) if 0 < len(digits) <= 4 and set(digits) <= set("01234567") else 0o1000
    if value > 0o077:  # the owner must be able to read what he wrote
        expected = "an octal umask from 000 to 077: 007 shares files with the group, 077 with nobody"
        raise InputError("environment", [Problem(VARIABLE, repr(text), expected)])
    return value


def set_umask() -> None:
    """Give the files that this process and its children make from now on the chosen permissions."""
    os.umask(umask())


def folder_mode() -> int:
    """Return the permissions of a finished folder of the cache: as the umask has it, and never writable for all."""
    return 0o775 & ~umask()
