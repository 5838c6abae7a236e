"""Half an hour in which everything fails now and then, and whether anything shows at the end.

    python -m tests.chaos sweeps/demo.yaml --minutes 30 --set 'seeds=[1,2]' --quiet STORE

A cluster of a head and two nodes, an object store (or, with `--storage folder`, a folder that all of them see), an
MLflow server: all on this machine. At random moments

- a training worker, a trial, a whole node, the driver, the head with everything on it, or MLflow is killed (SIGKILL);
- the object store is busy, loses answers and is slow for a while (`storage`);
- the folder is away for some seconds, an empty one in its place, as when a disk is unmounted (`gone`);
- a finished record, a base model or predictions are damaged where they lie (`damage`);
- the driver is stopped (SIGSTOP) for longer than its lease lives, and a second one takes over (`pause`).

What ended is started again, as an operator or Kubernetes would. At the end the records must equal those of a quiet
run, and MLflow must have each run once. `--victims damage,gone` strikes with these alone.
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
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flare_ray.cache import cache_folder
from flare_ray.store.lease import TTL
from flare_ray.tracking.ui import Ui
from tests.apart_nodes import BUCKET, KEYS, ApartNodes, object_store
from tests.kills import NAMES, kill, named, outcome, records

VICTIMS = (
    *("worker", "node", "storage", "damage", "driver", "mlflow", "gone"),
    *("trial", "pause", "storage", "worker", "damage", "gone", "head"),
)
_READ = (
    "import json, sys; from flare_ray.store import Store; store = Store(sys.argv[1])\n"
    "print(json.dumps(store.records('runs', store.finished('runs'))))"
)


class World:
    """All that can fail, and the sweep in it."""

    def __init__(
        self, folder: Path, words: Sequence[str], rng: random.Random, stack: ExitStack, in_folder: bool
    ):
        self.folder, self.rng, self.done = folder, rng, Counter[str]()
        self.place = folder / "storage" if in_folder else None
        self.storage = str(self.place or f"s3://{BUCKET}/chaos")
        self.away, self.older = False, list[subprocess.Popen[bytes]]()
        self.s3 = stack.enter_context(object_store())
        self.mlflow = Ui(f"sqlite:///{folder}/mlflow.db", folder / "artifacts", log=folder / "mlflow.log")
        self.mlflow.__enter__()
        stack.callback(lambda: self.mlflow.stop())
        self.more = KEYS | {"AWS_ENDPOINT_URL": self.s3.url, "MLFLOW_TRACKING_URI": self.mlflow.url}
        self._lend_sandbox()
        self.clusters = 0
        self.cluster = self._new_cluster()
        stack.callback(lambda: self.cluster._end())
        own = ["--set", f"storage={self.storage}", "--set", "resources.checkpoint_seconds=5"]
        self.command = [sys.executable, "-m", "flare_ray.sweep", *words, *own]
        self.driver: subprocess.Popen[bytes] | None = None
        self.starts = 0
        stack.callback(self.end_driver)
        self.later: list[tuple[float, Any]] = []

    def _lend_sandbox(self) -> None:
        """The head need not build it: it takes minutes."""
        from flare_ray.sandbox.build import folder_of

        built, cache = folder_of(cache_folder()), self.folder / "disks" / "head" / "cache"
        cache.mkdir(parents=True)
        if built.is_dir():
            (cache / built.name).symlink_to(built)

    def _new_cluster(self) -> ApartNodes:
        self.clusters += 1
        place = self.folder / f"cluster-{self.clusters}"
        return ApartNodes(place, self.folder / "disks", self.more).__enter__()

    @property
    def env(self) -> dict[str, str]:
        return self.cluster.environment | {"RAY_ADDRESS": self.cluster.address}

    def start_driver(self, *more: str) -> None:
        self.starts += 1
        with (self.folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen([*self.command, *more], env=self.env, stdout=log, stderr=log)

    def end_driver(self) -> None:
        for driver in [*self.older, *([self.driver] if self.driver else [])]:
            if driver.poll() is None:
                driver.kill()
                driver.wait()
        self.older.clear()

    def ended(self) -> int | None:
        """The driver's exit code; None while it runs."""
        return self.driver.poll() if self.driver else -1

    def strike(self, victim: str) -> bool:
        """Lets one thing fail; whether there was one."""
        found = getattr(self, f"_{victim}")()
        self.done[victim] += bool(found)
        return bool(found)

    def mend(self) -> None:
        """What is to be started again now."""
        now = time.monotonic()
        due = [work for when, work in self.later if when <= now]
        self.later = [(when, work) for when, work in self.later if when > now]
        for work in due:
            work()

    def _after(self, least: float, most: float, work: Any) -> None:
        self.later.append((time.monotonic() + self.rng.uniform(least, most), work))

    def _process(self, kind: str) -> bool:
        found = [one for one in self.cluster.processes() if named(one, NAMES[kind])]
        return bool(found) and kill(self.rng.choice(found))

    def _worker(self) -> bool:
        return self._process("worker")

    def _trial(self) -> bool:
        return self._process("trial")

    def _driver(self) -> bool:
        running = self.ended() is None
        self.end_driver()
        return running

    def _node(self) -> bool:
        if len(self.cluster._started) < 3:
            return False
        number = self.rng.choice((1, 2))
        name = self.cluster.names[number - 1]
        self.cluster.kill(number)
        cluster = self.cluster
        cluster.names = (*(one for one in cluster.names if one != name), name)
        self._after(5, 30, lambda: cluster is self.cluster and cluster.join(name))
        return True

    def _head(self) -> bool:
        self.cluster.kill(0)
        self.end_driver()  # a job's driver is on the head
        self.cluster._end()
        self.cluster = self._new_cluster()
        return True

    def _mlflow(self) -> bool:
        if self.mlflow.process.poll() is not None:
            return False
        os.killpg(self.mlflow.process.pid, 9)
        self.mlflow.process.wait()
        self._after(10, 40, self.mlflow.__enter__)
        return True

    def _gone(self) -> bool:
        """The storage's folder is another one for a while; who is started meanwhile waits, as for a mount."""
        if self.place is None or self.away or not self.place.exists():
            return False
        self.away = True
        away, beneath = self.folder / "away", self.folder / f"beneath-{self.done['gone']}"
        os.rename(self.place, away)
        self.place.mkdir()

        def back() -> None:
            assert self.place is not None
            os.rename(self.place, beneath)
            os.rename(away, self.place)
            self.away = False

        self._after(3, 40, back)
        return True

    def _damage(self) -> bool:
        """A file of finished work is not what was written."""
        endings = ("record.json", "predictions.parquet", "model.safetensors")
        wanted = self.rng.choice(endings[:2] + endings)
        found = [] if self.away else [name for name in self._names() if name.endswith(wanted)]
        if not found:
            return False
        name = self.rng.choice(found)
        content = self._read(name)
        if not content:
            return False
        middle = self.rng.randrange(len(content))
        damaged = {
            "cut": content[:middle],
            "a bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "zeros": content[:middle] + bytes(len(content) - middle),
            "empty": b"",
        }
        what = self.rng.choice(list(damaged))
        print(f"          {name}: {what}", flush=True)
        self._write(name, damaged[what])
        return True

    def _names(self) -> list[str]:
        """Files of finished runs and base models, whatever holds them."""
        if self.place:
            files = (file for kind in ("runs", "bases") for file in self.place.glob(f"{kind}/*/**/*"))
            return sorted(str(file.relative_to(self.place)) for file in files if file.is_file())
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="chaos/")
        names = (one["Key"].removeprefix("chaos/") for page in pages for one in page.get("Contents", []))
        return sorted(name for name in names if name.startswith(("runs/", "bases/")))

    def _read(self, name: str) -> bytes:
        if self.place:
            return (self.place / name).read_bytes()
        content: bytes = self._client().get_object(Bucket=BUCKET, Key=f"chaos/{name}")["Body"].read()
        return content

    def _write(self, name: str, content: bytes) -> None:
        if self.place:
            (self.place / name).write_bytes(content)
        else:
            self._client().put_object(Bucket=BUCKET, Key=f"chaos/{name}", Body=content)

    def _client(self) -> Any:
        import boto3

        names = ("region_name", "aws_access_key_id", "aws_secret_access_key")
        keys = (KEYS["AWS_DEFAULT_REGION"], KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])
        return boto3.client("s3", endpoint_url=self.s3.url, **dict(zip(names, keys, strict=True)))

    def _pause(self) -> bool:
        """The driver sleeps beyond the life of its lease; another one waits for that, and takes over."""
        if self.driver is None or self.driver.poll() is not None or self.away:
            return False
        paused = self.driver
        paused.send_signal(signal.SIGSTOP)
        self.older.append(paused)
        self.start_driver("--wait")
        self._after(TTL + 10, TTL + 30, lambda: paused.poll() is None and paused.send_signal(signal.SIGCONT))
        return True

    def _storage(self) -> bool:
        if self.place:
            return False
        self.s3.busy, self.s3.lost = self.rng.choice(((0.3, 0.03), (0.1, 0.1), (1.0, 0.0)))
        self.s3.delay = self.rng.choice((0.0, 0.05, 0.2))
        lasts = 8 if self.s3.busy == 1 else 45
        self._after(lasts / 2, lasts, self.s3.heal)
        return True

    def records(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", _READ, self.storage],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def tracked(self) -> Counter[str]:
        """How often MLflow has each run, finished."""
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=self.mlflow.url)
        ids = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(ids, "tags.`flare_ray.kind` = 'run'", max_results=5000)
        return Counter(
            one.data.tags["flare_ray.fingerprint"] for one in found if one.info.status == "FINISHED"
        )


def harass(world: World, minutes: float, pause: tuple[float, float], victims: Sequence[str]) -> float:
    """Until the sweep has ended; strikes for so many minutes at most. Seconds it took.

    What is damaged after its last look shows when the sweep is started once more, as it is at the end.
    """
    began, number, last = time.monotonic(), 0, False
    until = began + 60 * minutes
    due = began + world.rng.uniform(*pause)
    world.start_driver()
    while time.monotonic() < began + 60 * minutes + 3600:
        time.sleep(0.5)
        world.mend()
        if world.ended() is not None and world.away:
            continue
        if world.ended() == 0 and last:
            return time.monotonic() - began
        if world.ended() == 0:
            last, until = True, 0.0
            world.start_driver()
        elif world.ended() is not None:
            print(f"{time.monotonic() - began:6.0f} s  the driver ended with {world.ended()}", flush=True)
            world.start_driver()
        if due < time.monotonic() < until:
            victim, number = victims[number % len(victims)], number + 1
            struck = world.strike(victim)
            print(
                f"{time.monotonic() - began:6.0f} s  {victim}{'' if struck else ': none there'}", flush=True
            )
            due = time.monotonic() + world.rng.uniform(*pause)
    raise AssertionError(f"no end; {world.folder}/driver.log")


def verdict(world: World, quiet: Mapping[str, Any]) -> bool:
    """Prints what shows; whether nothing does."""
    world.mlflow.stop()
    world.mlflow.__enter__()
    world.s3.heal()
    ours, tracked = world.records(), world.tracked()
    same = [key for key in quiet if key in ours and outcome(ours[key]) == outcome(quiet[key])]
    print(f"{len(quiet)} runs undisturbed, {len(ours)} here, {len(same)} of them equal")
    print(f"MLflow: {len(tracked)} runs, {sum(count > 1 for count in tracked.values())} of them twice")
    verify = [str(Path(sys.executable).with_name("flare-ray")), "store", "verify", world.storage]
    checked = subprocess.run(verify, env=world.env, capture_output=True, text=True, check=False)
    print(checked.stdout.strip().splitlines()[-1] if checked.stdout.strip() else checked.stderr)
    once = set(tracked.values()) <= {1} and tracked.keys() == quiet.keys()
    return len(same) == len(quiet) == len(ours) and once and checked.returncode == 0


def main() -> None:
    """Runs it and prints a summary; exit code 0 when nothing shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the sweep")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pause", type=float, nargs=2, default=(25, 75), help="seconds between strikes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage", choices=("s3", "folder"), default="s3", help="where the sweep stores")
    parser.add_argument("--victims", default=",".join(VICTIMS), help="in turn, separated by commas")
    parser.add_argument("--quiet", type=Path, required=True, help="a store where the sweep ran undisturbed")
    options = parser.parse_args()
    words = [options.file, *(word for one in options.overrides for word in ("--set", one))]
    folder = Path(tempfile.mkdtemp(prefix="flare-ray-chaos-"))
    print(f"logs in {folder}", flush=True)
    with ExitStack() as stack:
        world = World(folder, words, random.Random(options.seed), stack, options.storage == "folder")
        seconds = harass(world, options.minutes, options.pause, options.victims.split(","))
        struck = ", ".join(f"{kind} {count}" for kind, count in sorted(world.done.items()))
        print(f"{seconds / 60:.1f} minutes, {sum(world.done.values())} strikes ({struck})")
        print(f"{world.starts} starts of the driver, {world.clusters} clusters")
        sys.exit(0 if verdict(world, records(options.quiet)) else 1)


if __name__ == "__main__":
    main()
