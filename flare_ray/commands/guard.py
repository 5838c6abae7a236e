"""How a command ends: with its exit code, or with one message and the exit code of what it says."""

from __future__ import annotations

import sys
from collections.abc import Callable

from flare_ray.errors import InputError
from flare_ray.store import told
from flare_ray.umask import set_umask


def guarded(work: Callable[[], int]) -> int:
    """Does a command's work, and returns its exit code.

    Wrong input becomes its message and 2, what does not answer for the moment its message and 75 (errors.py).
    """
    try:
        set_umask()
        with told():
            return work()
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
