"""Which store it is: an id at its root, by which a node notices that it sees another folder in the same place.

known = identity(store.files)   # in the driver, once
check(store.files, known)       # on every node
"""

from __future__ import annotations

import socket
import uuid

from flare_ray.store.files import Files

PLACE = ".store"


class OtherStore(OSError):
    """What lies in the store's place here is not the store."""


def identity(files: Files) -> str:
    """The store's id, which its first user gives it."""
    files.create(PLACE, uuid.uuid4().hex.encode())
    return files.read(PLACE).decode()


def check(files: Files, known: str) -> None:
    """Raises OtherStore when this node does not see that store."""
    try:
        found = files.read(PLACE).decode()
    except FileNotFoundError:
        found = ""
    if found != known:
        what = "another store" if found else "no store"
        raise OtherStore(
            f"{socket.gethostname()} sees {what} at {files.url}: a folder must be on a file system that every node "
            "mounts at the same path"
        )
