"""A process that Ray started for us: what it has in common with the driver."""

from __future__ import annotations

import os

from flare_ray.console import replace_streams


def prepare(umask: int | None) -> None:
    """Give this process the driver's umask, and output that cannot fail: Ray's log files may be on a full disk.

    Processes of a Ray that the driver started have the umask anyway; those on other machines have their own.
    """
    if umask is not None:
        os.umask(umask)
    replace_streams()
