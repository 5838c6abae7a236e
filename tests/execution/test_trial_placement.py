"""Where a trial and Train's controller go: to a node that stays, where the cluster has one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flare_ray.execution.capacity import DRIVER_NODE, trial_needs, worker_needs
from flare_ray.plan.schema import Resources
from tests.ray_cluster import RayCluster


def test_a_trial_reserves_no_processor() -> None:
    assert trial_needs({"CPU": 4.0, "memory": 1e10}).keys() == {"memory"}


def test_where_nodes_that_stay_are_marked_a_trial_reserves_a_sliver_of_one() -> None:
    needs = trial_needs({"CPU": 4.0, DRIVER_NODE: 1.0})
    assert 0 < needs[DRIVER_NODE] <= 0.01, "hundreds of trials fit on one node"
    assert "CPU" not in needs


def test_a_marked_node_that_is_yet_to_come_counts() -> None:
    assert DRIVER_NODE in trial_needs({DRIVER_NODE: 2.0})
    assert DRIVER_NODE not in trial_needs({DRIVER_NODE: 0.0})


def test_only_workers_ask_for_a_kind_of_gpu() -> None:
    wanted = Resources(gpus_per_worker=1, accelerator_type="L4")
    assert worker_needs(wanted)["accelerator_type:L4"] > 0
    assert not [kind for kind in trial_needs({DRIVER_NODE: 1}) if kind.startswith("accelerator_type")]


DRIVER = """
import json, sys, threading, time
from pathlib import Path
import ray
from rich.console import Console
from flare_ray.running import execute
from flare_ray.study import Study

seen = {}
def watch():
    from ray.util.state import list_actors
    while True:
        time.sleep(1)
        if ray.is_initialized():
            for actor in list_actors(address=sys.argv[2], limit=1000, detail=True):
                if actor.node_id:
                    seen[actor.actor_id] = (actor.class_name, actor.node_id)
threading.Thread(target=watch, daemon=True).start()
outcome = execute(Study.open(Path(sys.argv[1])), Console())
nodes = {node["NodeID"]: sorted(node["Resources"]) for node in ray.nodes()}
print("SEEN", json.dumps({"actors": list(seen.values()), "nodes": nodes, "failed": len(outcome.failed)}))
"""


@pytest.mark.slow
def test_trials_stay_on_the_marked_node_and_workers_go_to_their_kind_of_gpu(
    sweep_of: Callable[..., dict[str, Any]], write_sweep: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    """Two real nodes, both with room for everything; Ray's own choice for trials is the head, which is not marked."""
    fields = sweep_of(languages=["qal"], methods=["zero_shot", "lora"], resources={"accelerator_type": "L4"})
    file = write_sweep(fields)
    with RayCluster(tmp_path, num_cpus=2, resources={"accelerator_type:L4": 1}) as cluster:
        cluster.add_node(num_cpus=2, resources={DRIVER_NODE: 1})
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(file), cluster.url],
            env={**cluster.environment, "RAY_ADDRESS": cluster.address},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    told = json.loads(line.removeprefix("SEEN "))
    assert told["failed"] == 0

    def marks(kinds: tuple[str, ...]) -> list[list[str]]:
        return [told["nodes"][node] for name, node in told["actors"] if name in kinds]

    trials = marks(("ImplicitFunc", "run_stage"))
    controllers, workers = marks(("TrainController",)), marks(("RayTrainWorker",))
    assert trials
    assert controllers
    assert workers, told["actors"]
    assert all(DRIVER_NODE in node for node in trials + controllers)
    assert all("accelerator_type:L4" in node for node in workers)
