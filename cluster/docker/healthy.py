"""Whether the Ray node of this container is well: exit code 0 when it is, or when no node is meant to run here.

The container's HEALTHCHECK. Every node has an agent, which answers whether its raylet does; without a token, since it
tells nothing else. `ray start` leaves a mark that `ray stop` takes away: a mark without a node is one that has died.
"""

from __future__ import annotations

import re
import sys
import urllib.request
from pathlib import Path

import psutil

_SECONDS = 8
_MARK = Path("/tmp/ray/ray_current_cluster")
_AGENT = re.compile(r"dashboard/agent\.py .*--listen-port=(\d+)")


def ports() -> list[int]:
    """Where the agents of this container's nodes listen: a raylet is told by which command it starts its agent."""
    raylets = [one for one in psutil.process_iter(["name", "cmdline"]) if one.info["name"] == "raylet"]
    commands = [" ".join(one.info["cmdline"] or []) for one in raylets]
    return [int(found[1]) for command in commands if (found := _AGENT.search(command))]


def well(port: int) -> bool:
    """Whether the raylet beside this agent answers."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/local_raylet_healthz", timeout=_SECONDS
        ) as answer:
            return b"success" in answer.read()
    except OSError:
        return False


def healthy(agents: list[int], mark: Path = _MARK) -> bool:
    """Whether all agents say so, and there is one where `ray start` has been."""
    return all(well(port) for port in agents) and (bool(agents) or not mark.exists())


if __name__ == "__main__":
    sys.exit(0 if healthy(ports()) else 1)
