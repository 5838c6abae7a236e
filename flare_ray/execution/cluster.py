"""The Ray cluster: whether it is there, joining or starting one, what it can have."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flare_ray.errors import InputError, Problem, refusal
from flare_ray.execution.growth import most, types
from flare_ray.execution.local_ray import local_problems, own_signal_handlers, start_ray
from flare_ray.umask import set_umask

_WANTED = "the address of a running cluster (host:port, [IPv6]:port), or no RAY_ADDRESS to start a local one"


def cluster_address() -> str | None:
    """Return what RAY_ADDRESS names: a cluster, or `local` for a new Ray that is treated as one; None for nothing."""
    return os.environ.get("RAY_ADDRESS", "").strip() or None


def connect() -> dict[str, float]:
    """Joins the cluster that RAY_ADDRESS names, or starts a local Ray; returns what it can have (`can_have`).

    Raises InputError when there is no cluster at RAY_ADDRESS, it is no address, or no Ray can be started here;
    Unreachable where that may pass.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables: the progress panel stands for them
    import ray

    set_umask()
    protect_token()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    address = cluster_address()
    if address in (None, "local"):
        start_ray(**quiet)
        return can_have()
    if problems := cluster_problems():
        raise refusal("Ray", problems)
    try:
        with own_signal_handlers():
            ray.init(address=address, ignore_reinit_error=True, **quiet)
    except (
        Exception
    ) as error:  # none is there, or it takes no token of ours: Ray has no errors of its own for that
        got = f"{address!r}: {' '.join(str(error).split())[:400]}"
        raise InputError("Ray", [Problem("RAY_ADDRESS", got, _WANTED)]) from error
    return can_have()


def can_have() -> dict[str, float]:
    """Resources of the cluster: of its nodes now or, where it scales by itself, of all it may grow to (growth.py).

    Raises InputError.
    """
    import ray

    have = {kind: float(amount) for kind, amount in ray.cluster_resources().items()}
    return have | {kind: max(amount, have.get(kind, 0.0)) for kind, amount in most().items()}


def nodes() -> list[dict[str, float]] | None:
    """Resources of each node that is there, and of one of each kind that may come; None where nobody knows these."""
    import ray

    coming = types()
    if coming is None:
        return None
    return [node["Resources"] for node in ray.nodes() if node["Alive"]] + coming


def cluster_problems() -> list[Problem]:
    """Return what keeps this process from a Ray: a wrong RAY_ADDRESS, nobody there, or limits of this machine.

    It takes seconds, where Ray itself waits for a minute and prints for another.
    """
    address = cluster_address()
    if address is None or address == "local":
        return local_problems()
    if address == "auto":
        return []
    try:
        host, port = parse_address(address)
    except ValueError as error:
        return [Problem("RAY_ADDRESS", f"{address!r}, {error}", _WANTED)]
    try:
        socket.create_connection((host, port), timeout=5).close()
    except (OSError, UnicodeError) as error:
        return [Problem("RAY_ADDRESS", f"{address!r}, which does not answer: {error}", _WANTED)]
    return []


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`, `[IPv6]:port` or `ray://host:port`. Raises ValueError with the reason."""
    rest = address.removeprefix("ray://")
    if (bare := _ipv6(rest)) is not None:
        raise ValueError(f"an IPv6 address without a port; write [{bare}]:6379")
    if "://" in rest:
        raise ValueError("which is no address of Ray")
    parts = urlsplit(f"//{rest}")
    if not parts.hostname or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("which is no host with a port")
    if not parts.port:  # raises ValueError for what is none
        raise ValueError("which has no port")
    return parts.hostname, parts.port


def _ipv6(text: str) -> str | None:
    try:
        return str(ipaddress.IPv6Address(text.strip("[]")))
    except ValueError:
        return None


def protect_token() -> None:
    """Take a token file of this user from the eyes of others. A new one is made under this process's umask."""
    token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    with suppress(OSError, RuntimeError):
        status = token_file.stat()
        if status.st_mode & 0o077 and status.st_uid == os.getuid():
            token_file.chmod(0o600)
