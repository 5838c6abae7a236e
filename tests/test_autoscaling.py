"""A cluster that grows from nothing and shrinks again, by Ray's own autoscaler over nodes that are processes here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.ray_cluster import RayCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
HEAD = "f" * 51 + "00000"
NODES = 2
Fields = Callable[..., dict[str, Any]]
Write = Callable[[dict[str, Any]], Path]


class GrowingCluster(RayCluster):
    """A head without CPUs, and up to two nodes of one CPU, which go when they were idle for 12 s."""

    def _start(self, words: list[str], *rest: Any) -> None:
        from ray.util import get_node_ip_address

        file = self.place / "autoscaling.yaml"
        file.write_text(yaml.safe_dump(_config(f"{get_node_ip_address()}:{self.port}")))
        super()._start([*words, f"--autoscaling-config={file}"], *rest)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        }
        return super().environment | own

    def workers(self) -> int:
        """Nodes beside the head."""
        return self._nodes() - 1

    def kill_a_node(self) -> None:
        """The raylet of a node that grew; what ran on it goes with it."""
        head = psutil.Process(self._started[0].pid)
        monitors = [one for one in head.children(recursive=True) if "monitor.py" in " ".join(one.cmdline())]
        raylets = [one for one in monitors[0].children(recursive=True) if one.name() == "raylet"]
        raylets[-1].kill()

    def reclaim_nodes(self, seconds: int) -> None:
        """What a cloud does with spot instances: it says that all that grew will go, in so many seconds."""
        for node in self.grown():
            why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "reclaimed"]
            words = ["drain-node", f"--address={self.address}", f"--node-id={node}", *why]
            words.append(f"--deadline-remaining-seconds={seconds}")
            subprocess.run([self.ray, *words], env=self.environment, check=True, capture_output=True)

    def grown(self) -> list[str]:
        """Ids of the nodes beside the head."""
        nodes = [one["raylet"] for one in self.ask("/nodes?view=summary")["data"]["summary"]]
        return [one["nodeId"] for one in nodes if one.get("state") == "ALIVE" and not one.get("isHeadNode")]


def _config(gcs: str) -> dict[str, Any]:
    empty = ("head_setup_commands", "worker_setup_commands", "setup_commands", "initialization_commands")
    more = ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")
    return {
        "cluster_name": "fake",
        "max_workers": NODES,
        "idle_timeout_minutes": 0.2,
        "upscaling_speed": 10.0,
        "provider": {
            "type": "external",  # ray's fake_multinode wants a file that its wheel lacks
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": HEAD,
            "gcs_address": gcs,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {
                "resources": {"CPU": 1, "object_store_memory": 100_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": NODES,
            },
        },
        **{name: [] for name in (*empty, *more, "rsync_filter")},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "auth": {},
        "docker": {},
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[GrowingCluster]:
    place = tmp_path / "cluster"
    place.mkdir()
    with GrowingCluster(place, num_cpus=0, resources={"flare_ray_driver": 100}) as started:
        yield started


def records(storage: str) -> dict[str, Any]:
    found = {
        file.parent.name: json.loads(file.read_text()) for file in Path(storage).glob("runs/*/record.json")
    }
    return {name: (record["metrics"], record["chosen_step"]) for name, record in found.items()}


def until(good: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError):  # a busy dashboard drops a connection now and then
            if good():
                return
        assert time.monotonic() < deadline
        time.sleep(0.5)


LONG = {"epochs": 30, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32}


@pytest.fixture
def compared(
    cluster: GrowingCluster, sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> Callable[[dict[str, Any], Callable[[str], None]], None]:
    """Runs a sweep on the cluster while something happens to it, and once more on this machine alone."""

    def compare(more: dict[str, Any], happens: Callable[[str], None]) -> None:
        until(lambda: cluster.workers() == 0, 60)
        fields = sweep_of(training=LONG, **more)
        command = [sys.executable, "-m", "flare_ray.sweep", str(write_sweep(fields))]
        env = cluster.environment | {"RAY_ADDRESS": cluster.address}
        with (tmp_path / "log").open("wb") as log:
            sweep = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            try:
                until(lambda: cluster.workers() == NODES, 240)
                happens(fields["storage"])
                code = sweep.wait(timeout=600)
            finally:
                sweep.kill()
        assert code == 0, (tmp_path / "log").read_text()
        until(lambda: cluster.workers() == 0, 120)
        calm = fields | {"storage": str(tmp_path / "calm")}
        done = subprocess.run(
            [*command[:-1], str(write_sweep(calm))], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert records(fields["storage"]) == records(calm["storage"])

    return compare


def test_nodes_come_go_and_die_and_nothing_is_lost(
    cluster: GrowingCluster, compared: Callable[..., None], tmp_path: Path
) -> None:
    def happens(storage: str) -> None:
        until(lambda: len(records(storage)) >= 3, 240)
        cluster.kill_a_node()

    compared({"seeds": [1, 2]}, happens)
    assert len(records(str(tmp_path / "calm"))) == 12


def test_nodes_that_are_reclaimed_leave_checkpoints_to_those_that_come(
    cluster: GrowingCluster, compared: Callable[..., None]
) -> None:
    def happens(storage: str) -> None:
        until(lambda: len(list(Path(storage).glob("bases/*/record.json"))) > NODES, 400)  # a second stage
        before = set(cluster.grown())
        cluster.reclaim_nodes(60)
        until(lambda: any(Path(storage).glob("checkpoints/*/*")), 60)
        until(lambda: not before & set(cluster.grown()), 120)

    compared({"seeds": [1, 2, 3]}, happens)
