"""Surroundings that fail as real ones do, a finished study in them, and commands called here or as programs."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from small_study import IDS, LABELS
from typer.testing import CliRunner

from flare_ray import cli, registry
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.store import Store, open_store
from tests.tracking.finished import record_of


def call(*words: object, app: Any = cli.app) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def program(
    *words: object, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, from the checkout that is tested."""
    command = [sys.executable, "-c", "from flare_ray.cli import app; app()", *map(str, words)]
    root = Path(cli.__file__).parent.parent
    own = {**os.environ, "PYTHONPATH": str(root), **(env or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | options
    return subprocess.run(command, env=own, check=False, **options)


def fill(file: Path, scratch: Path) -> Store:
    """Keeps a record of every run of a sweep in its storage, each with all its answers right."""
    sweep = load_sweep(file)
    store = open_store(sweep.storage)
    answers = [LABELS[number % 3] for number in IDS["test"]]
    gold = [[answer] for answer in answers]
    table = pa.table({"id": [str(number) for number in IDS["test"]], "gold": gold, "prediction": answers})
    metrics = dict(registry.load("tasks", "nusax").score(gold, answers))
    for run in expand(sweep).runs:
        folder = scratch / "scratch" / run.fingerprint
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "predictions.parquet")
        record = record_of(run) | {"metrics": metrics}
        store.write("runs", run.fingerprint, record, folder)
    return store


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


_VERSION = 0x20080522  # of Linux's capability calls: two words of 32 each
_OF_FILES = (1 << 1) | (1 << 2) | (1 << 3)  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER


def capabilities() -> tuple[int, Any]:
    """This thread's effective capabilities of the first word, and all that there are."""
    data = (_Data * 2)()
    if ctypes.CDLL(None).capget(ctypes.byref(_Header(_VERSION, 0)), data):
        pytest.skip("no capabilities here")
    return data[0].effective, data


def set_capabilities(effective: int, data: Any) -> None:
    """Takes up capabilities, or gives up those over files for 0; what is permitted stays."""
    data[0].effective = effective or data[0].effective & ~_OF_FILES
    if ctypes.CDLL(None).capset(ctypes.byref(_Header(_VERSION, 0)), data):
        pytest.skip("capabilities cannot be given up here")
