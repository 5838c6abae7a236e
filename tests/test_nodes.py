"""A sweep over nodes that share no disk: a stumbling object store, a hub that is asked once, a head that dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.apart_nodes import KEYS, ApartNodes, object_store
from tests.execution.test_prefetch import DATA, MODEL, hub
from tests.hub_server import HubServer
from tests.store.s3_server import FaultyS3

__all__ = ["hub"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
Fields = Callable[..., dict[str, Any]]
Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def s3() -> Iterator[FaultyS3]:
    with object_store() as server:
        yield server


@contextmanager
def driver(file: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "flare_ray.sweep", str(file)]
    with file.with_suffix(".log").open("ab") as log:
        started = subprocess.Popen(command, env=dict(env), stdout=log, stderr=log)
        try:
            yield started
        finally:
            started.kill()
            started.wait()


def records(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The runs of the store, as another process sees it."""
    code = (
        "import json; from flare_ray.store import Store; store = Store('s3://study/nodes')\n"
        "print(json.dumps(store.records('runs', store.finished('runs'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(env), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_head_dies_and_what_is_submitted_again_goes_on(
    hub: HubServer, s3: FaultyS3, sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> None:
    fields = sweep_of(
        models=[{"name": "tiny", "family": "xlm_roberta", "checkpoint": MODEL}],
        data={"nusax": DATA},
        languages=["ace"],
        seeds=[1, 2, 3, 4],
        training={"epochs": 20, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32},
        storage="s3://study/nodes",
    )
    file, more = write_sweep(fields), KEYS | {"AWS_ENDPOINT_URL": s3.url, "HF_ENDPOINT": hub.url}
    s3.busy, s3.lost, s3.delay = 0.03, 0.005, 0.005
    hub.asked.clear()

    def cluster(name: str) -> ApartNodes:
        return ApartNodes(tmp_path / name, tmp_path / "disks", more)

    with cluster("first") as first:
        env = first.environment | {"RAY_ADDRESS": first.address}
        with driver(file, env) as started:
            deadline = time.monotonic() + 400
            while len(before := records(env)) < 3:
                assert started.poll() is None, file.with_suffix(".log").read_text()
                assert time.monotonic() < deadline, file.with_suffix(".log").read_text()
                time.sleep(1)
            first.kill(0)
    assert len(before) < 12, "it was killed in the middle"
    asked = dict(hub.asked)

    with cluster("second") as second:
        env = second.environment | {"RAY_ADDRESS": second.address}
        with driver(file, env) as started:
            assert started.wait(900) == 0, file.with_suffix(".log").read_text()
        after = records(env)
    assert dict(hub.asked) == asked, "nothing is fetched twice"
    assert len(after) == 4 * 3
    assert {name: after[name] for name in before} == before, "nothing is trained twice"
    copies = [
        disk for disk in "ab" if list((tmp_path / "disks" / disk / "cache" / "store").rglob("record.json"))
    ]
    assert copies == ["a", "b"], "both nodes have read what the store has"
    assert not (tmp_path / "disks" / "a" / "hf").exists(), "and none the hub"
