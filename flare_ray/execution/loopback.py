"""A Ray of this machine alone, which no other machine can talk to.

Ray 2.60 listens on every interface, with its token before it, unless a node's own address is 127.0.0.1; that it takes
as its address where clusters are switched off, as on laptops with macOS. Torch's collectives take the interface that
they are told.
"""

from __future__ import annotations

import os
import sys

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def only_here() -> None:
    """A Ray that this process starts from now on listens on loopback, and so do its workers' collectives.

    What the environment says already stays as it is.
    """
    os.environ.setdefault(_CLUSTERS, "0")
    for name in _INTERFACES:
        os.environ.setdefault(name, "lo0" if sys.platform == "darwin" else "lo")
    from ray._private import ray_constants

    # read from the environment when ray was imported, which may have been earlier
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[_CLUSTERS].lower() in ("1", "true")
