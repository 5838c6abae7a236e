"""What MLflow has of a sweep, read back: for reports where the store is out of reach.

for one in recorded("http://mlflow.example:5000", "table1"):
    one.record, one.file("predictions.parquet")
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.store.manifest import RECORD, parted
from flare_ray.tracking.connection import FINGERPRINT, Connection
from flare_ray.tracking.ledger import WHOLE

_READERS = 8


@dataclass(frozen=True)
class Recorded:
    """A run, or a translated split, as MLflow has it. tags: MLflow's; status: FINISHED or FAILED."""

    connection: Connection
    run_id: str
    status: str
    tags: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """By which the store knows it too."""
        return self.tags[FINGERPRINT]

    @cached_property
    def record(self) -> dict[str, Any]:
        """The store's record, which is an artifact. Raises FileNotFoundError, Damaged."""
        return parted(self.read(RECORD))[0]

    def read(self, name: str) -> bytes:
        """An artifact. Raises FileNotFoundError."""
        if not any(found.path == name for found in self.connection.client.list_artifacts(self.run_id)):
            raise FileNotFoundError(f"MLflow's run {self.run_id} has no {name}")
        with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
            return Path(self.connection.client.download_artifacts(self.run_id, name, scratch)).read_bytes()


def recorded(uri: str, sweep: str) -> list[Recorded]:
    """All whole runs of a sweep's experiments, finished ones with their records. Raises InputError for none."""
    connection = Connection(uri)
    like = connection.client.search_experiments(filter_string=f"name LIKE '{sweep}/%'")
    ids = [
        one.experiment_id for one in like if one.name.startswith(f"{sweep}/")
    ]  # LIKE takes _ for any character
    found = [one for experiment in ids for one in _whole(connection, experiment)]
    if not found:
        wanted = "a sweep's name, and the MLflow that has it"
        raise InputError("report", [Problem("--experiment", f"no run of {sweep!r} in {uri}", wanted)])
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lambda one: one.record, (one for one in found if one.status == "FINISHED")))
    return found


def _whole(connection: Connection, experiment: str) -> Iterator[Recorded]:
    """Of two writings of a run the one that finished."""
    kept: dict[str, Recorded] = {}
    for run in connection.runs(experiment):
        status, tags = str(run.info.status), dict(run.data.tags)
        if FINGERPRINT in tags and status in WHOLE:
            one = Recorded(connection, str(run.info.run_id), status, tags)
            known = kept.get(one.fingerprint)
            if known is None or known.status != "FINISHED":
                kept[one.fingerprint] = one
    yield from kept.values()
