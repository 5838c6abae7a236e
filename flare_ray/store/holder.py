"""Who holds a lease: a process of some machine, and the numbered files by which holders follow each other.

chain = Chain(files, "table1")
holder = chain.holder(chain.newest())
print(holder)  # host gpu7, pid 4711, since 2026-11-23 04:48:36, last seen 12 s ago
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psutil

from flare_ray.store.files import Files
from flare_ray.store.manifest import Damaged

TOKENS: set[str] = set()
"""Of this interpreter's own leases."""
log = logging.getLogger(__name__)
_PROCESS = {"host", "machine", "pid", "started"}
_NUMBER = re.compile(r"[0-9]{1,18}")
_LAST_PID, _LAST_TIME = 2**31 - 1, 2.0**33
_NO_FILE = (IsADirectoryError, Damaged)
"""What reading a folder, or anything else that is not a file, raises."""
_SAME_START = 5.0  # seconds that a process's start may seem to move when the clock is set


@dataclass(frozen=True)
class Process:
    """A process of some machine. machine: host, boot and process namespace, within which pids are comparable."""

    host: str
    machine: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        pid = os.getpid()
        return cls(socket.gethostname(), _machine(), pid, psutil.Process(pid).create_time())

    def is_gone(self) -> bool:
        """Whether it ended, when that can be seen from here; False for processes of other machines."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return not alive or abs(process.create_time() - self.started) > _SAME_START
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:  # there is one of that number, of which no more can be seen
            return False


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. since: Unix time by its own clock; seen: seconds since its last sign of life.

    damage: what is wrong with its file where it says nothing of its holder; it counts as alive until it is old.
    """

    name: str
    token: str
    process: Process
    since: float
    seen: float
    released: bool
    damage: str = ""

    def is_dead(self, ttl: float) -> bool:
        """Whether it works no more: it said so, or its process is gone, or it was not seen for `ttl` seconds."""
        return self.released or self.process.is_gone() or self._is_former_self() or self.seen > ttl

    def _is_former_self(self) -> bool:
        """Whether it is what this process was before it replaced itself (execution/watchdog.py)."""
        return self.process == Process.this() and self.token not in TOKENS

    def __str__(self) -> str:
        if self.damage:
            remedy = "remove the file if none is at work"
            return f"unknown: {self.damage}, last written {self.seen:.0f} s ago ({remedy})"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"host {self.process.host}, pid {self.process.pid}, since {since}, last seen {self.seen:.0f} s ago"


class Chain:
    """The files of one lease, `leases/<name>/<number>.json`: the highest number holds it."""

    def __init__(self, files: Files, name: str):
        self.files, self.name = files, name
        self.folder = f"leases/{_slug(name)}"

    def numbers(self) -> list[int]:
        """All numbers there are, sorted."""
        names = (
            name.removesuffix(".json") for name in self.files.names(self.folder) if name.endswith(".json")
        )
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))

    def newest(self) -> int:
        """The highest number; 0 when no one ever held it."""
        return max(self.numbers(), default=0)

    def place(self, number: int) -> str:
        """A number's file."""
        return f"{self.folder}/{number}.json"

    def token(self, number: int) -> str | None:
        """Whose a number is; None while its file is being written, and when it is damaged or was removed."""
        try:
            return self._read(number)[0].get("token")
        except (FileNotFoundError, *_NO_FILE):
            return None

    def is_damaged(self, number: int) -> bool:
        """Return whether a number's file is there and says nothing of its holder."""
        try:
            return bool(self._read(number)[1])
        except FileNotFoundError:
            return False
        except _NO_FILE:
            return True

    def holder(self, number: int) -> Holder | None:
        """Who wrote a number's file; None when there is none, or it was removed by who came after.

        No driver makes a folder or a pipe: one in the place of a file holds nothing.
        """
        if not number:
            return None
        now = self.files.now()  # first: however long this takes, no one looks dead for it
        try:
            facts, damage = self._read(number)
            modified = self.files.modified(self.place(number))
        except FileNotFoundError:
            return None
        except _NO_FILE:
            log.warning("lease %s: %s is no file; remove it", self.name, self._shown(number))
            return None
        seen = now - modified if modified is not None else time.time() - facts.get("seen", 0.0)
        return Holder(
            name=facts.get("name", self.name),
            token=facts.get("token", ""),
            process=Process(**{name: facts["process"][name] for name in _PROCESS})
            if facts
            else Process("unknown", "", 0, 0.0),
            since=facts.get("since", modified or 0.0),
            seen=max(0.0, seen),
            released=facts.get("released", False),
            damage=damage,
        )

    def content(self, token: str, since: float, released: bool = False) -> bytes:
        """What this process writes into its number's file."""
        facts = {
            "name": self.name,
            "token": token,
            "process": asdict(Process.this()),
            "since": since,
            "seen": time.time(),
            "released": released,
        }
        return json.dumps(facts, indent=1).encode()

    def _read(self, number: int) -> tuple[dict[str, Any], str]:
        """Return what a number's file says, and what is wrong with it where it says nothing that can be used.

        A file is not whole while it is being written, on a file system without links.
        """
        content = self.files.read(self.place(number))
        try:
            return _checked(json.loads(content)), ""
        except (ValueError, RecursionError) as error:
            return {}, f"{self._shown(number)} is no lease: {' '.join(str(error).split())[:200]}"

    def _shown(self, number: int) -> str:
        return self.files.for_people(self.place(number))


def _checked(facts: Any) -> dict[str, Any]:
    """Return a lease's facts. Raises ValueError where they are not what a driver writes."""
    if not isinstance(facts, dict):
        raise ValueError(f"got {type(facts).__name__}; expected an object")
    process = facts.get("process")
    if not isinstance(process, dict) or not process.keys() >= _PROCESS:
        raise ValueError(f"process: got {str(process)[:80]}; expected {', '.join(sorted(_PROCESS))}")
    kinds: dict[str, tuple[Any, type]] = {name: (facts.get(name), str) for name in ("name", "token")}
    kinds |= {name: (facts.get(name), float) for name in ("since", "seen")}
    kinds |= {"released": (facts.get("released"), bool), "process.started": (process["started"], float)}
    kinds |= {f"process.{name}": (process[name], str) for name in ("host", "machine")}
    kinds |= {"process.pid": (process["pid"], int)}
    for name, (value, kind) in kinds.items():
        if not _is_a(value, kind):
            raise ValueError(f"{name}: got {str(value)[:80]!r}; expected {kind.__name__}")
    return facts


def _is_a(value: Any, kind: type) -> bool:
    """Return whether a value is of a kind, and a number one that a clock or a process may have."""
    if kind in (str, bool):
        return isinstance(value, kind)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(value, int | kind):
        return False
    most = _LAST_PID if kind is int else _LAST_TIME
    return 0 <= value <= most  # False for NaN


def holders(files: Files, ttl: float) -> list[Holder]:
    """Who holds a lease of a store now."""
    chains = [Chain(files, name) for name in files.names("leases")]
    found = [chain.holder(chain.newest()) for chain in chains]
    return [holder for holder in found if holder and not holder.is_dead(ttl)]


def _slug(name: str) -> str:
    """A folder's name: readable, another one for every name, and itself for a folder's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return (
        plain
        if plain == name
        else f"{plain[:60] or 'lease'}-{blake2b(name.encode(), digest_size=4).hexdigest()}"
    )


def _machine() -> str:
    """What tells machines and containers apart, even of one name."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip(),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            parts.append(read())
        except OSError:
            parts.append("?")
    return " ".join(parts)
