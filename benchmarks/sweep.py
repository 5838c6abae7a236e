"""What a sweep adds to its runs, with packs and without, and against a shell loop of one-run scripts.

    python benchmarks/sweep.py [sweeps/demo.yaml] [--set …] [--groups] [--loop] [--translations STORE]

The sweep runs into an empty store; with --groups, given that store's base models and translations, once more with
packs of one run, each in a worker group of its own: Tune and Train as they come. "Overhead" of a run is what its
worker group took for it beside its training and evaluation loops, the time since the run before it included: model,
adapter, engine, checkpoint, record. "Wall" is the whole command.

With --loop every run is also trained by a script of its own, one after another, by the same code without Ray: Python
starts, the base model is loaded (trained before, by a script of its own, and counted), the run is trained, its record
written. Translations are there already and not counted on either side: a store's where the sweep has run, or of
a first execution of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

A_GROUP_EACH = """
from flare_ray.execution.searcher import StageSearcher
StageSearcher.next = lambda self, trial: self.answer(f"next/{self.key(trial)}", None)
from flare_ray.sweep import app
app()
"""
ONE_RUN = """
import json, os, sys, tempfile
from pathlib import Path
import torch
from flare_ray.plan.wire import base_from_dict, run_from_dict
from flare_ray.store import Store
from flare_ray.training.engine import Group, join_group
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Subject, Workbench
from flare_ray.translation.corpus import ROWS
work, storage = json.loads(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
torch.distributed.init_process_group("gloo", init_method="file://" + tempfile.mktemp(), rank=0, world_size=1)
join_group("cpu")
store, base = Store(storage), base_from_dict(work["base"])
run = run_from_dict(work["run"], base) if work["run"] else None
place = str(store.folder("bases", base.fingerprint)) if run else base.model.checkpoint
bench = Workbench(
    Subject(base.model.family, place, base.task, base.source, base.settings["precision"]), Group()
)
with tempfile.TemporaryDirectory() as scratch:
    if run is None:
        record = train_base(bench, base.settings, base.seed, Path(scratch))
        store.write("bases", base.fingerprint, record, Path(scratch))
    else:
        bench.corpora = {
            (c.language, c.split): store.folder("corpora", c.fingerprint) / ROWS for c in run.corpora
        }
        cell = run.cell
        record = train_run(bench, cell.method, cell.language, run.settings, run.seed, Path(scratch))
        store.write("runs", run.fingerprint, record, Path(scratch))
"""


def command(words: list[str], storage: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "flare_ray.sweep", *words, "--set", f"storage={storage}", *more]


def timed(words: list[str]) -> float:
    """Wall seconds of a command that must succeed."""
    started = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started


def records(storage: Path, kind: str) -> list[dict[str, Any]]:
    """All records of a kind."""
    return [json.loads(file.read_text()) for file in storage.glob(f"{kind}/*/record.json")]


def overheads(storage: Path) -> list[float]:
    """Of each run: from when its worker was free to its end, beside its loops.

    Runs of a worker group follow one another; a group's first run counts from its own start.
    """
    found = []
    hosts: dict[Any, list[dict[str, Any]]] = {}
    for record in records(storage, "runs"):
        hosts.setdefault(record["base"], []).append(record)
    for group in hosts.values():
        group.sort(key=lambda record: record["started"])
        for before, record in zip([None, *group], group, strict=False):
            gap = record["started"] - before["ended"] if before else 0.0
            between = gap if 0 <= gap < 5 else 0.0  # a larger gap is another worker group
            cost = record["cost"]
            found.append(between + cost["wall_seconds"] - cost["train_seconds"] - cost["evaluation_seconds"])
    return found


def loop(words: list[str], storage: Path) -> float:
    """Wall seconds of the same runs by a script each."""
    from flare_ray.plan.grid import expand
    from flare_ray.plan.load import load_sweep
    from flare_ray.plan.wire import base_to_dict, run_to_dict

    grid = expand(load_sweep(Path(words[0]), words[2::2]))
    works = [{"base": base_to_dict(base), "run": None} for base in grid.bases]
    works += [{"base": base_to_dict(run.base), "run": run_to_dict(run)} for run in grid.runs]
    return sum(timed([sys.executable, "-c", ONE_RUN, json.dumps(work), str(storage)]) for work in works)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", default="sweeps/demo.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--groups", action="store_true")
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--translations", type=Path, metavar="STORE")
    options = parser.parse_args()
    words = [options.file, *(word for override in options.overrides for word in ("--set", override))]
    with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
        first, packed, single, looped = (
            Path(scratch, name) for name in ("first", "packed", "single", "loop")
        )
        if options.translations:
            first = options.translations
        else:
            timed(command(words, first))  # and whatever is built once on this machine
        for other in (packed, single, looped):
            for kind in ("corpora", "translations"):
                if (first / kind).exists():
                    shutil.copytree(first / kind, other / kind)
        whole = timed(command(words, packed))
        inside = overheads(packed)
        rows = [("packs", whole, statistics.median(inside))]
        if options.groups:
            shutil.copytree(packed / "bases", single / "bases")
            ones = command(words, single, "--set", "resources.pack_size=1")
            alone = timed([sys.executable, "-c", A_GROUP_EACH, *ones[3:]])
            rows.append(("a worker group for each run", alone, statistics.median(overheads(single))))
        scripts = loop(words, looped) if options.loop else None
        print(f"{len(inside)} runs, {len(records(packed, 'bases'))} base models\n")
        print(
            "| | wall, s | overhead per run in its worker, median s | wall per run, s |\n|---|---:|---:|---:|"
        )
        for name, seconds, each in rows:
            print(f"| {name} | {seconds:.0f} | {each:.2f} | {seconds / len(inside):.1f} |")
        if scripts is not None:
            print(f"| a script for each run | {scripts:.0f} | | {scripts / len(inside):.1f} |")
            print(f"\nscripts ÷ packs: {scripts / whole:.2f}")


if __name__ == "__main__":
    main()
