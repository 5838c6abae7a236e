"""A real Ray of several nodes on this machine, with token authentication, on free ports: what `ray start` makes.

with RayCluster(tmp_path, num_cpus=0) as cluster:
    cluster.add_node(num_cpus=2)
    subprocess.run([...], env=cluster.environment)
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from flare_ray.execution.metrics import METRICS

_PATIENCE = 120.0
_LABELS = {"sweep"} | {label for known in METRICS.values() for label in known.labels}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, below those that the system gives away: Ray takes many of these itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20_000, 32_000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("0.0.0.0", port))
            found.append(port)
    return found


class RayCluster:
    """The head from its entry on, and what is added; all of it is ended by process id at the exit.

    place: a folder for the token and logs. resources, num_cpus: of the head. environment: of a client that has the
    token; stranger: of one that has none.
    """

    def __init__(self, place: Path, num_cpus: int = 2, resources: Mapping[str, float] | None = None):
        self.place, self.num_cpus, self.resources = place, num_cpus, resources or {}
        self.port, self.dashboard, self.client, self.metrics = free_ports(4)
        self.address, self.url = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.dashboard}"
        self.token = place / "token"
        self.token.write_text(secrets.token_hex(32))
        self.ray = Path(sys.executable).with_name("ray")
        self._started: list[subprocess.Popen[bytes]] = []
        # Ray's sockets lie in it, and a socket's path is at most 107 bytes long
        self._scratch = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))

    @property
    def environment(self) -> dict[str, str]:
        words = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token), "RAY_worker_niceness": "0"}
        return {**_without_ray(), **words}

    @property
    def stranger(self) -> dict[str, str]:
        return {**_without_ray(), "HOME": str(self._scratch), "RAY_AUTH_MODE": "token"}

    def __enter__(self) -> RayCluster:
        ports = [f"--port={self.port}", f"--dashboard-port={self.dashboard}", f"--temp-dir={self._scratch}"]
        ports += [f"--ray-client-server-port={self.client}"]
        try:
            self._start(["--head", *ports], self.num_cpus, self.resources, self.metrics)
            self._wait(lambda: self._answers("/api/version"))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def add_node(self, num_cpus: int, resources: Mapping[str, float] | None = None) -> None:
        """Another node; returns when the cluster has it."""
        self._start([f"--address={self.address}"], num_cpus, resources or {}, free_ports(1)[0])
        wanted = len(self._started)
        self._wait(lambda: self._nodes() >= wanted)

    def sample(self) -> dict[str, dict[tuple[str, ...], float]]:
        """What Prometheus would read of the head: values by metric and by its own labels' values, those in order."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for line in lines:
            if match := re.match(r"(\w+)\{(.*)\} (\S+)$", line):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
                own = tuple(labels[name] for name in sorted(labels) if name in _LABELS)
                found.setdefault(match[1], {})[own] = float(match[3])
        return found

    def sample_when(self, good: Callable[[Any], bool], seconds: float = 90) -> Any:
        """The first sample that is good. Raises AssertionError when none is."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(OSError):  # the head's agent starts after the dashboard
                if good(found := self.sample()):
                    return found
            assert time.monotonic() < deadline, "no such sample"
            time.sleep(1)

    def ask(self, path: str) -> Any:
        """The dashboard's answer, as one who has the token."""
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", f"Bearer {self.token.read_text()}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def _start(self, words: list[str], num_cpus: int, resources: Mapping[str, float], metrics: int) -> None:
        command = [str(self.ray), "start", "--block", *words, f"--num-cpus={num_cpus}"]
        command += [
            "--node-ip-address=127.0.0.1",
            "--disable-usage-stats",
            f"--metrics-export-port={metrics}",
        ]
        command += [
            f"--dashboard-agent-listen-port={free_ports(1)[0]}",
            f"--resources={json.dumps(resources)}",
        ]
        command += ["--object-store-memory=200000000", "--min-worker-port=0", "--max-worker-port=0"]
        with (self.place / f"ray-{len(self._started)}.log").open("wb") as log:
            started = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        self._started.append(started)

    def _answers(self, path: str) -> bool:
        try:
            self.ask(path)
        except OSError:
            return False
        return True

    def _nodes(self) -> int:
        found = self.ask("/nodes?view=summary")["data"]["summary"]
        return sum(one["raylet"].get("state") == "ALIVE" for one in found)

    def _wait(self, what: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not what():
            ended = [one for one in self._started if one.poll() is not None]
            logs = "\n".join(log.read_text() for log in sorted(self.place.glob("ray-*.log")))
            assert not ended, f"a node ended:\n{logs}"
            assert time.monotonic() < deadline, f"no answer:\n{logs}"
            time.sleep(0.5)

    def processes(self) -> list[psutil.Process]:
        """All of its nodes, those of jobs too."""
        every = []
        for started in self._started:
            with suppress(psutil.NoSuchProcess):
                node = psutil.Process(started.pid)
                every += [node, *node.children(recursive=True)]
        return every

    def _end(self) -> None:
        every = self.processes()
        for process in every:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(every, timeout=10)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _without_ray() -> dict[str, str]:
    """This process's environment without what it says of other Rays."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
