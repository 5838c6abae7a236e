"""A sweep under kills: what dies at random moments, and whether the records at the end equal a quiet run's.

    python -m tests.kills sweeps/demo.yaml --kills 10

By turns a worker, the driver, a Tune trial and the whole Ray (its raylet) are killed with SIGKILL; a driver that
ended is started again with the same command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

VICTIMS = ("worker", "driver", "trial", "ray")
NAMES = {
    "worker": ("ray::RayTrainWorker",),
    "trial": ("ray::ImplicitFunc", "ray::run_stage"),
    "ray": ("raylet",),
}


def records(storage: Path, kind: str = "runs") -> dict[str, dict[str, Any]]:
    """Every whole record, by fingerprint."""
    return {file.parent.name: json.loads(file.read_text()) for file in storage.glob(f"{kind}/*/record.json")}


def outcome(record: dict[str, Any]) -> Any:
    """What of a record must not depend on what happened to the processes that made it."""
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    return record["metrics"], record["chosen_step"], curve


class Sweep:
    """One sweep on a Ray of its own, killed now and then."""

    def __init__(self, words: Sequence[str], storage: Path, log: Path):
        self.command = [sys.executable, "-m", "flare_ray.sweep", *words, "--set", f"storage={storage}"]
        self.storage, self.log = storage, log
        self.driver: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def alive(self) -> bool:
        return self.driver is not None and self.driver.poll() is None

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as stream:
            self.driver = subprocess.Popen(self.command, stdout=stream, stderr=stream, start_new_session=True)

    def family(self) -> list[psutil.Process]:
        assert self.driver is not None
        try:
            return psutil.Process(self.driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self, victim: str, rng: random.Random) -> bool:
        """Kills one process of a kind; whether there was one."""
        assert self.driver is not None
        family = self.family()
        if victim == "driver":
            self.driver.send_signal(signal.SIGKILL)
            self.driver.wait()
            for child in family:  # Ray's processes follow their driver by themselves, only later
                kill(child)
            return True
        found = [child for child in family if named(child, NAMES[victim])]
        return bool(found) and kill(rng.choice(found))

    def end(self) -> None:
        """Ends whatever is left of it."""
        family = self.family() if self.driver else []
        if self.alive():
            assert self.driver is not None
            self.driver.kill()
            self.driver.wait()
        for child in family:
            kill(child)


def named(process: psutil.Process, names: Sequence[str]) -> bool:
    try:
        line = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return False
    return any(line.startswith(name) or os.path.basename(line.split(" ")[0]) == name for name in names)


def kill(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def harassed(
    words: Sequence[str], storage: Path, log: Path, kills: int, rng: random.Random, pause: tuple[float, float]
) -> tuple[Sweep, list[str]]:
    """Runs a sweep to its end, killing something after each random pause (seconds); what was killed, in order.

    Raises AssertionError when a record that was whole once changes, or when it does not end.
    """
    sweep, done, seen = Sweep(words, storage, log), [], dict[str, Any]()
    deadline = time.monotonic() + 3600
    try:
        sweep.start()
        due = time.monotonic() + rng.uniform(*pause)
        while time.monotonic() < deadline:
            time.sleep(0.2)
            if not sweep.alive():
                assert sweep.driver is not None
                if sweep.driver.returncode == 0:
                    break
                sweep.start()
            if len(done) < kills and time.monotonic() > due:
                victim = VICTIMS[len(done) % len(VICTIMS)]
                if sweep.kill(victim, rng):
                    done.append(victim)
                    for key, record in records(storage).items():
                        assert seen.setdefault(key, record) == record, f"{key} was written twice"
                    due = time.monotonic() + rng.uniform(*pause)
        else:
            raise AssertionError(f"no end after an hour; log: {log}")
    finally:
        sweep.end()
    for key, record in seen.items():
        assert records(storage)[key] == record, f"{key} was written twice"
    return sweep, done


def main() -> None:
    """Prints what was killed, and whether anything shows at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", help="FILE and options of the sweep")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, nargs=2, default=(20, 90), help="seconds between kills")
    parser.add_argument(
        "--quiet", type=Path, help="a store where the sweep ran undisturbed; else it runs first"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
        folder = Path(scratch)
        quiet = options.quiet or folder / "quiet"
        if not options.quiet:
            harassed(options.words, quiet, folder / "quiet.log", 0, random.Random(0), (1e9, 1e9))
        started = time.monotonic()
        log = Path(f"kills-{options.seed}.log")
        sweep, done = harassed(
            options.words, folder / "killed", log, options.kills, random.Random(options.seed), options.pause
        )
        seconds = time.monotonic() - started
        ours, theirs = records(folder / "killed"), records(quiet)
        same = [key for key in theirs if key in ours and outcome(ours[key]) == outcome(theirs[key])]
        print(f"killed: {', '.join(done)}; {sweep.starts} starts, {seconds:.0f} s")
        print(f"{len(theirs)} runs undisturbed, {len(ours)} after the kills, {len(same)} of them equal")
        sys.exit(0 if len(same) == len(theirs) == len(ours) else 1)


if __name__ == "__main__":
    main()
