"""What MLflow has of a sweep, read back: for reports where the store is out of reach.

for one in recorded("http://mlflow.example:5000", "table1"):
    one.record, one.file("predictions.parquet")
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.redaction import redacted
from flare_ray.store.manifest import RECORD, Damaged, Manifest, checksum_of_stream, parted, same_record
from flare_ray.tracking.connection import FINGERPRINT, Connection
from flare_ray.tracking.database_check import sqlite_file
from flare_ray.tracking.ledger import WHOLE
from flare_ray.tracking.relocation import ARTIFACTS, run_folder

_READERS = 8
_MOST = 20
"""Runs that a message names."""
_ANEW = "the store's record as an artifact: `flare-ray sync FILE` puts it back"


@dataclass(frozen=True)
class Recorded:
    """A run, or a translated split, as MLflow has it. tags: MLflow's; status: FINISHED or FAILED."""

    connection: Connection
    run_id: str
    status: str
    tags: Mapping[str, str]
    folder: Path | None = None
    """Where its artifacts lie if the database's storage was moved or copied with them."""

    @property
    def fingerprint(self) -> str:
        """By which the store knows it too."""
        return self.tags[FINGERPRINT]

    @cached_property
    def _parts(self) -> tuple[dict[str, Any], Manifest | None]:
        record, manifest = parted(self._bytes(RECORD))
        if manifest and not same_record(record, manifest):
            raise Damaged(f"{RECORD} is not what was written")
        if record.get("fingerprint", self.fingerprint) != self.fingerprint:
            raise Damaged(f"{RECORD} is another run's: {record['fingerprint']}")
        return record, manifest

    @property
    def record(self) -> dict[str, Any]:
        """The store's record, which is an artifact. Raises FileNotFoundError, Damaged."""
        return self._parts[0]

    def read(self, name: str) -> bytes:
        """An artifact, as the record knows it. Raises FileNotFoundError, Damaged."""
        content, manifest = self._bytes(name), self._parts[1]
        for listed in manifest.files if manifest else ():
            if listed.path == name and checksum_of_stream(io.BytesIO(content)) != listed.blake2b:
                raise Damaged(f"{name} of MLflow's run {self.run_id} is not what was written")
        return content

    def _bytes(self, name: str) -> bytes:
        if self.folder and (self.folder / name).is_file():
            return (self.folder / name).read_bytes()
        if not any(artifact.path == name for artifact in self.connection.client.list_artifacts(self.run_id)):
            raise FileNotFoundError(f"MLflow's run {self.run_id} has no {name}")
        with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
            return Path(self.connection.client.download_artifacts(self.run_id, name, scratch)).read_bytes()


def recorded(uri: str, sweep: str) -> list[Recorded]:
    """All whole runs of a sweep's experiments, finished ones with their records.

    Raises InputError for none, and for finished ones whose record is not there.
    """
    file = sqlite_file(uri)
    wanted = "a sweep's name, and the MLflow that has it"
    if file and not file.exists():
        raise InputError("report", [Problem("--uri", f"no MLflow database at {file}", wanted)])
    root = file.absolute().parent / ARTIFACTS if file else None
    connection = Connection(uri)
    like = connection.client.search_experiments(filter_string=f"name LIKE '{sweep}/%'")
    experiments = [one for one in like if one.name.startswith(f"{sweep}/")]  # LIKE takes _ for any character
    found = [run for one in experiments for run in _whole(connection, one.experiment_id, one.name, root)]
    if not found:
        raise InputError(
            "report", [Problem("--experiment", f"no run of {sweep!r} in {redacted(uri)}", wanted)]
        )
    with ThreadPoolExecutor(_READERS) as pool:
        problems = [one for one in pool.map(_record_problem, found) if one]
    if problems:
        left_out = len(problems) - _MOST
        more = [Problem("MLflow", f"{left_out} more runs like these", _ANEW)] if left_out > 0 else []
        raise InputError("report", [*problems[:_MOST], *more])
    return found


def _record_problem(one: Recorded) -> Problem | None:
    """Return what is wrong with the record of a run that has finished."""
    if one.status != "FINISHED":
        return None
    name = (
        f"run {one.tags.get('cell') or one.tags.get('task', '')} ({one.fingerprint}, MLflow's {one.run_id})"
    )
    try:
        if "metrics" in one.record or one.tags.get("flare_ray.kind") != "run":
            return None
        return Problem(name, f"a {RECORD} without metrics", _ANEW)
    except FileNotFoundError:
        return Problem(name, f"no artifact {RECORD}", _ANEW)
    except (Damaged, ValueError, OSError) as error:
        return Problem(name, f"a damaged {RECORD}: {error}", _ANEW)


def _whole(connection: Connection, experiment: str, name: str, root: Path | None) -> Iterator[Recorded]:
    """Of two writings of a run the one that finished. name: the experiment's; root: artifacts beside a database."""
    kept: dict[str, Recorded] = {}
    for run in connection.runs(experiment):
        status, tags = str(run.info.status), dict(run.data.tags)
        if FINGERPRINT in tags and status in WHOLE:
            run_id = str(run.info.run_id)
            folder = run_folder(root, name, run_id) if root else None
            one = Recorded(connection, run_id, status, tags, folder)
            known = kept.get(one.fingerprint)
            if known is None or known.status != "FINISHED":
                kept[one.fingerprint] = one
    yield from kept.values()
