"""Nodes beside one another: what differs is told; on a real cluster, a folder that each node has for itself."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_study import write_study, write_sweep

from flare_ray.errors import InputError
from flare_ray.preflight.findings import Finding, bad, refuse, warning
from flare_ray.preflight.nodes import clock, compare, look
from flare_ray.preflight.probe import Asked, Node, code, listed, probe
from flare_ray.store import Store
from tests.ray_cluster import RayCluster


@pytest.fixture
def this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """What this machine answers."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _, (node,) = look(Store(str(tmp_path / "store")), [str(tmp_path)])
    return node


def bads(found: Any) -> dict[str, str]:
    return {one.what: one.found for one in found if not one.good}


def test_this_machine_agrees_with_itself(this: Node) -> None:
    assert this.storage == ""
    assert this.code == code()
    assert this.memory > 2**30
    assert not bads(compare(this, [this, this]))


def test_what_differs_is_told_with_where(this: Node) -> None:
    other = replace(
        this,
        name="gpu-7",
        code="x",
        versions=this.versions | {"torch": "2.6.0", "peft": "0.1", "python": "3.12.1"},
    )
    found = {one.what: one for one in compare(this, [this, other])}
    states = {what: one.state for what, one in found.items() if not one.good}
    assert states == {
        "flare_ray on the nodes": "bad",
        "torch on the nodes": "bad",
        "python on the nodes": "bad",
        "peft on the nodes": "warning",
    }
    assert "2.6.0 on gpu-7" in found["torch on the nodes"].found


def test_builds_of_one_version_are_the_same(this: Node) -> None:
    cpu = replace(this, versions=this.versions | {"torch": "2.13.0+cpu"})
    gpu = replace(this, versions=this.versions | {"torch": "2.13.0+cu128"})
    assert not bads(compare(cpu, [gpu]))


def test_folders_that_are_missing_or_other_ones_are_told(this: Node, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("1,2")
    here = replace(this, folders={str(folder): listed(str(folder))})
    (folder / "train.csv").write_text("1,2,3")
    shorter = replace(this, folders={str(folder): listed(str(folder))})
    absent = replace(this, folders={str(folder): listed(str(tmp_path / "nowhere"))})
    assert not bads(compare(here, [here]))
    assert "other files" in bads(compare(here, [shorter]))[str(folder)]
    assert "not there" in bads(compare(here, [absent]))[str(folder)]


def test_a_node_that_does_not_see_the_drivers_file_says_so(tmp_path: Path) -> None:
    asked = Asked(str(tmp_path / "a disk of its own"), ".preflight/1")
    assert "does not see" in probe(asked, "node").storage
    file = tmp_path / "a-file"
    file.write_text("")
    assert probe(replace(asked, storage=str(file / "below")), "node").storage


@pytest.mark.parametrize(
    ("off", "refused", "state"),
    [
        (3, False, "good"),
        (-3, True, "good"),
        (60, False, "warning"),
        (-60, True, "warning"),
        (2000, True, "bad"),
    ],
)
def test_clocks_that_differ(off: float, refused: bool, state: str) -> None:
    assert clock("x", 1000.0 + off, 999.0, 1001.0, refused).state == state


def test_all_that_is_bad_is_one_error_and_warnings_are_none() -> None:
    refuse([Finding("a", "b"), warning("c", "d", "e")])
    with pytest.raises(InputError) as error:
        refuse([bad("one", "x", "y"), warning("c", "d", "e"), bad("two", "x", "y")])
    assert [one.where for one in error.value.problems] == ["one", "two"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_whose_nodes_have_a_disk_each_is_refused_and_a_shared_one_is_not(tmp_path: Path) -> None:
    """Nodes in mount namespaces of their own, where one can make them."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces cannot be made here")
    store, own = tmp_path / "store", tmp_path / "own"
    store.mkdir()
    own.mkdir()
    file = write_sweep(tmp_path / "sweep.yaml", write_study(tmp_path) | {"storage": str(store)})
    with Alone(tmp_path, f"mount --bind {own} {store}") as cluster:
        cluster.add_node(num_cpus=1)
        good = doctor(cluster, file)
        assert "every node sees what the others write" in good.stdout, good.stdout + good.stderr
        assert "nodes: 2 asked" in good.stdout
        assert "does not answer without a token" in good.stdout
        assert "bad  storage" not in good.stdout
        cluster.alone = True
        cluster.add_node(num_cpus=1)
        refused = doctor(cluster, file)
        assert refused.returncode == 2
        assert "does not see what the driver wrote there" in refused.stdout
        sweep = [sys.executable, "-m", "flare_ray.sweep", str(file)]
        env = cluster.environment | {"RAY_ADDRESS": cluster.address}
        done = subprocess.run(sweep, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "preflight: " in done.stderr
        assert "does not see what the driver wrote there" in done.stderr
        assert not list(store.glob("runs/*"))


class Alone(RayCluster):
    """Nodes that are started with `alone` set find another folder in the store's place."""

    alone = False

    def __init__(self, place: Path, mounting: str):
        super().__init__(place, num_cpus=1)
        self.mounting, self.plain = mounting, self.ray
        self.apart = place / "ray-apart"
        self.apart.write_text(
            f'#!/bin/sh\nexec unshare --mount sh -c \'{mounting} && exec "$0" "$@"\' {self.plain} "$@"\n'
        )
        self.apart.chmod(0o755)

    def add_node(self, num_cpus: int, resources: Any = None) -> None:
        self.ray = self.apart if self.alone else self.plain
        super().add_node(num_cpus, resources)


def doctor(cluster: RayCluster, file: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from flare_ray.cli import app; app()"
    env = cluster.environment | {
        "RAY_ADDRESS": cluster.address,
        "FLARE_RAY_CACHE": os.environ["FLARE_RAY_CACHE"],
    }
    command = [sys.executable, "-c", code, "doctor", str(file)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
