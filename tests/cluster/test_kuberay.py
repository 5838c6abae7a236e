"""The Kubernetes overlays: built by kubectl, held against the schemas of Kubernetes and KubeRay, read by Ray."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest
import yaml

from flare_ray.execution.capacity import DRIVER_NODE
from flare_ray.execution.growth import VARIABLE, of_config
from tests.cluster.dockerfile import ROOT
from tests.cluster.manifests import (
    CRDS,
    NAMES,
    OVERLAYS,
    Object,
    built,
    changed,
    of_kind,
    pods,
    ray_cluster,
    schemas,
)
from tests.cluster.test_ray_up import CLOUDS, load, workers
from tests.ray_cluster import free_ports

KUBERNETES = "1.34"
DOCS = (ROOT / "docs/cluster.md").read_text()
POOLS = DOCS.partition("| pool |")[2].splitlines()
SCALING = [name for name in NAMES if name != "kueue"]
JOBS = ["cpu-demo", "gpu-cloud-job", "kueue"]
RAY = {"matchLabels": {"ray.io/is-ray-node": "yes"}}


def autoscaler_reads(overlay: str | tuple[Object, ...]) -> dict[str, Any]:
    """What the autoscaler beside the head makes of the Ray cluster."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {"metadata": {"name": "flare-ray", "namespace": "flare-ray"}, "spec": ray_cluster(overlay)}
    found: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    return found


def head_says(overlay: str | tuple[Object, ...], name: str) -> str:
    (found,) = (
        one["value"] for one in dict(pods(overlay))["head"]["containers"][0]["env"] if one["name"] == name
    )
    return str(found)


def test_kubernetes_knows_every_field_of_its_own_kinds() -> None:
    """Of the pods in Ray's groups too, which are Kubernetes' own whatever KubeRay's schemas say of them."""
    import kubernetes_validate

    every: dict[str, dict[str, Any]] = {}
    for overlay in NAMES:
        of_pods = [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
            for name, spec in pods(overlay)
        ]
        own = [
            one for one in built(overlay) if not one["apiVersion"].startswith(("ray.io/", "kueue.x-k8s.io/"))
        ]
        assert len(own) > 15
        every |= {json.dumps(one): one for one in [*own, *of_pods]}  # overlays have most in common
    for one in every.values():
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.skipif(
    CRDS not in os.environ, reason=f"{CRDS}: the folder of KubeRay's schemas (docs/cluster.md)"
)
def test_kuberay_knows_every_field() -> None:
    import jsonschema

    known = schemas()
    for overlay in NAMES:
        (one,) = (one for one in built(overlay) if one["apiVersion"].startswith("ray.io/"))
        check = jsonschema.Draft202012Validator(known[one["kind"], one["apiVersion"].partition("/")[2]])
        assert [error.message for error in check.iter_errors(one)] == []
        wrong = one | {"spec": one["spec"] | {"headGroup": {}}}
        assert [error.message for error in check.iter_errors(wrong)] != []


@pytest.mark.parametrize("overlay", SCALING)
def test_the_driver_knows_how_far_the_cluster_may_grow(overlay: str) -> None:
    grows = {
        kind: amount for kind, amount in of_config(autoscaler_reads(overlay)).items() if kind != "memory"
    }
    assert json.loads(head_says(overlay, VARIABLE)) == grows


def test_a_queued_cluster_has_all_it_will_ever_have() -> None:
    spec = ray_cluster("kueue")
    assert not spec["enableInTreeAutoscaling"]
    (group,) = spec["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 4
    has = {kind: 4 * int(amount) for kind, amount in group["resources"].items()}
    assert json.loads(head_says("kueue", VARIABLE)) == has
    (job,) = of_kind("kueue", "RayJob")
    (queue,) = of_kind("kueue", "LocalQueue")
    assert job["spec"]["suspend"]
    assert job["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": queue["metadata"]["name"]}
    (limits,) = of_kind("kueue", "ClusterQueue")[0]["spec"]["resourceGroups"]
    assert {one["name"] for one in limits["flavors"]} == {
        one["metadata"]["name"] for one in of_kind("kueue", "ResourceFlavor")
    }


@pytest.mark.parametrize("overlay", SCALING)
def test_groups_scale_to_zero_each_in_its_time(overlay: str) -> None:
    spec = ray_cluster(overlay)
    assert spec["autoscalerOptions"]["version"] == "v2"
    for group in spec["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
        assert 0 < group["idleTimeoutSeconds"] <= 900
    types = autoscaler_reads(overlay)["available_node_types"]
    assert all(types[group["groupName"]]["idle_timeout_s"] for group in spec["workerGroupSpecs"])


@pytest.mark.parametrize("overlay", NAMES)
def test_drivers_and_trials_stay_on_the_head(overlay: str) -> None:
    types = autoscaler_reads(overlay)["available_node_types"]
    head = types.pop("headgroup")
    assert head["resources"]["CPU"] == 0
    assert [kind for kind, group in types.items() if DRIVER_NODE in group["resources"]] == []
    assert head["resources"][DRIVER_NODE] == 1
    assert "GPU" not in head["resources"]
    assert "tolerations" not in dict(pods(overlay))["head"]


@pytest.mark.parametrize("overlay", [name for name in NAMES if name != "cpu-demo"])
def test_workers_are_on_their_machines_and_what_stays_is_beside_the_head(overlay: str) -> None:
    """A record that lies on a spot machine, or holds a GPU machine for itself, is none that stays."""
    stays = ("head", "mlflow", "postgres", "submitter")
    for name, pod in pods(overlay):
        assert pod["nodeSelector"] == {"flare-ray/node": "head" if name in stays else name}
        taints = {one["key"] for one in pod.get("tolerations", [])}
        on_spot = name not in stays and overlay != "onprem-nfs"
        assert ({"cloud.google.com/gke-spot", "flare-ray/spot"} <= taints) == on_spot
        assert ("nvidia.com/gpu" in taints) == name.startswith("gpu")


def test_workers_tolerate_the_taints_of_the_documented_pools() -> None:
    taints = set(re.findall(r"--node-taints (\S+?)=|taints: \[{key: (\S+),", DOCS))
    assert {first or second for first, second in taints} == {"flare-ray/spot", "nvidia.com/gpu"}
    tolerated = {name: {one["key"] for one in pod.get("tolerations", [])} for name, pod in pods("gpu-cloud")}
    assert tolerated["gpu-24gb"] == tolerated["gpu-80gb"] == tolerated["gpu-8x80gb"]
    assert tolerated["gpu-24gb"] - tolerated["cpu"] == {"nvidia.com/gpu"}


def test_jobs_of_different_overlays_are_different_jobs() -> None:
    """KubeRay runs no job again that has ended, whatever is applied under its name."""
    names = {overlay: of_kind(overlay, "RayJob")[0]["metadata"]["name"] for overlay in JOBS}
    assert names == {"cpu-demo": "demo", "gpu-cloud-job": "sweep", "kueue": "queued-sweep"}
    configs = {overlay: of_kind(overlay, "ConfigMap")[0]["metadata"]["name"] for overlay in JOBS}
    assert configs["cpu-demo"] != configs["gpu-cloud-job"]  # a try after a failed one reads its sweep anew
    for overlay, name in names.items():  # the same one again: deleted first
        delete = f"kubectl -n flare-ray delete rayjob {name} --ignore-not-found\n"
        assert f"{delete}kubectl apply -k cluster/kuberay/overlays/{overlay}\n" in DOCS


def test_an_image_of_any_name_comes_into_every_pod(tmp_path: Any) -> None:
    """As a user names it, in the two places where it stands."""
    for overlay in NAMES:
        mine = changed(
            tmp_path / overlay, overlay, "components/image*/*.yaml", "registry.example/", "mine:5000/x/"
        )
        tag = "0.1.0-cpu" if overlay == "cpu-demo" else "0.1.0"
        for name, pod in pods(mine):
            (container,) = pod["containers"]
            assert name == "postgres" or container["image"] == f"mine:5000/x/flare-ray:{tag}"
    named = [file for file in OVERLAYS.parent.rglob("*.yaml") if "registry.example" in file.read_text()]
    assert sorted(file.parent.name for file in named) == ["image", "image-cpu"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_clouds_gpus_are_those_of_its_machines(cloud: str, tmp_path: Any) -> None:
    """The kinds and numbers of the file for `ray up`, whose machines docs/cluster.md names for the node pools."""
    component = f"cloud/{cloud.replace('gcp', 'google')}"
    mine = changed(tmp_path, "gpu-cloud", "overlays/gpu-cloud/kustomization.yaml", "cloud/aws", component)
    most = of_config(autoscaler_reads(mine))
    assert json.loads(head_says(mine, VARIABLE)) == {k: v for k, v in most.items() if k != "memory"}
    machines = workers(load(cloud))
    for group in ray_cluster(mine)["workerGroupSpecs"]:
        own = machines[group["groupName"]]
        assert {k for k in group["resources"] if ":" in k} == {k for k in own["resources"] if ":" in k}
        assert group["maxReplicas"] == own["max_workers"]
        assert int(group["resources"]["CPU"]) < own["resources"]["CPU"]
        pool = next(line for line in POOLS if line.startswith(f"| `{group['groupName']}` |"))
        config = own["node_config"].get("azure_arm_parameters", own["node_config"])
        (machine,) = (config[key] for key in ("InstanceType", "machineType", "vmSize") if key in config)
        assert machine in pool
    accounts = [one for one in of_kind(mine, "ServiceAccount") if "annotations" in one["metadata"]]
    assert {one["metadata"]["name"] for one in accounts} == {"flare-ray-head", "flare-ray-worker"}
    for name, pod in pods(mine):
        has = {one["name"]: one.get("value") for one in pod["containers"][0].get("env", [])}
        ray = name not in ("mlflow", "postgres")
        assert (has.get("AZURE_STORAGE_ANON") == "false") == (cloud == "azure" and ray)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_table_of_node_types_has_each_clouds_kinds(cloud: str) -> None:
    """`A (Google: B, Azure: C)`: A where no other is said."""
    for name, group in workers(load(cloud)).items():
        kinds = [kind.partition(":")[2] for kind in group["resources"] if ":" in kind]
        if kinds:
            row = next(line for line in DOCS.splitlines() if line.startswith(f"| `{name}` |"))
            told = re.search(r"(\w+)(?: \((.+)\))? \|$", row)
            assert told, row
            others = dict(part.split(": ") for part in (told[2] or "").split(", ") if part)
            title = {"aws": "AWS", "gcp": "Google", "azure": "Azure"}[cloud]
            assert kinds == [others.get(title, told[1])]


@pytest.mark.parametrize("overlay", NAMES)
def test_what_ray_counts_is_what_the_pod_has(overlay: str) -> None:
    for group in ray_cluster(overlay)["workerGroupSpecs"]:
        asked = group["template"]["spec"]["containers"][0]["resources"]
        assert group["resources"]["CPU"] == asked["requests"]["cpu"]
        assert group["resources"].get("GPU") == asked["limits"].get("nvidia.com/gpu")
        assert asked["requests"]["memory"] == asked["limits"]["memory"]


def test_the_namespace_is_restricted_and_no_overlays_to_delete() -> None:
    """With it would go the secrets, which are made by hand, and the records."""
    assert [of_kind(overlay, "Namespace") for overlay in NAMES] == [[]] * len(NAMES)
    namespace = yaml.safe_load((OVERLAYS.parent / "namespace.yaml").read_text())
    assert namespace["metadata"]["name"] == "flare-ray"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert DOCS.index("kubectl apply -f cluster/kuberay/namespace.yaml") < DOCS.index(
        "kubectl -n flare-ray create secret"
    )
    assert not re.search(r"^kubectl delete -k", DOCS, re.M)


@pytest.mark.parametrize("overlay", NAMES)
def test_no_pod_may_do_what_it_need_not(overlay: str) -> None:
    for name, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
        assert (pod.get("automountServiceAccountToken") is False) == (name != "head")
    (bound,) = of_kind(overlay, "RoleBinding")
    assert [one["name"] for one in bound["subjects"]] == ["flare-ray-head"]
    (role,) = of_kind(overlay, "Role")
    verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
    assert verbs <= {"get", "list", "watch", "patch"}
    assert not {"secrets", "*"} & {kind for rule in role["rules"] for kind in rule["resources"]}


@pytest.mark.parametrize("overlay", NAMES)
def test_all_that_is_named_is_there_or_a_secret(overlay: str) -> None:
    """Accounts, volumes and ConfigMaps are in the overlay; secrets are named alone."""
    assert of_kind(overlay, "Secret") == []
    have = {(one["kind"], one["metadata"]["name"]) for one in built(overlay)}
    secrets = {ray_cluster(overlay)["authOptions"]["secretName"]}
    for _, pod in pods(overlay):
        assert ("ServiceAccount", pod["serviceAccountName"]) in have
        for volume in pod.get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in have
            if (config := volume.get("configMap")) and not config.get("optional"):
                assert ("ConfigMap", config["name"]) in have
        mounted = {
            one["name"] for container in pod["containers"] for one in container.get("volumeMounts", [])
        }
        claims = {"data"}  # a StatefulSet's own
        assert mounted <= {one["name"] for one in pod.get("volumes", [])} | claims
        for container in pod["containers"]:
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                assert source or not re.search("TOKEN|PASSWORD|SECRET", variable["name"])
                secrets |= {source["name"]} if source else set()
    assert secrets == {"flare-ray-token", "flare-ray-hub", "flare-ray-database"}
    if overlay in JOBS:
        (sweep,) = (
            v["configMap"]["name"] for v in dict(pods(overlay))["head"]["volumes"] if v["name"] == "sweep"
        )
        assert ("ConfigMap", sweep) in have


@pytest.mark.parametrize("overlay", NAMES)
def test_only_what_belongs_to_a_namespace_is_put_into_one(overlay: str) -> None:
    everywhere = {"PersistentVolume", "ClusterQueue", "ResourceFlavor"}
    for one in built(overlay):
        assert one["metadata"].get("namespace") == (None if one["kind"] in everywhere else "flare-ray")


def admits(overlay: str, direction: str, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Rules of all policies that select a pod with these labels."""
    found = []
    for policy in of_kind(overlay, "NetworkPolicy"):
        spec = policy["spec"]
        if spec["podSelector"].get("matchLabels", {}).items() <= labels.items():
            assert direction.capitalize() in spec["policyTypes"] or direction not in spec
            found += spec.get(direction, [])
    return found


@pytest.mark.parametrize("overlay", NAMES)
def test_the_network_is_closed_but_for_what_is_said(overlay: str) -> None:
    every = [one["spec"] for one in of_kind(overlay, "NetworkPolicy") if one["spec"]["podSelector"] == {}]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in every
    head = {"ray.io/is-ray-node": "yes", "ray.io/node-type": "head"}
    worker = {"ray.io/is-ray-node": "yes", "ray.io/node-type": "worker"}
    for labels in (head, worker):
        for rule in admits(overlay, "ingress", labels):
            assert rule["from"]
            for who in rule["from"]:
                assert "ipBlock" not in who
                inside = "namespaceSelector" not in who
                assert inside or {one["port"] for one in rule["ports"]} <= {8265, 8080}
            if rule["from"] != [{"podSelector": RAY}]:
                assert rule["ports"]
    anywhere = [rule for rule in admits(overlay, "egress", worker) if "to" not in rule]
    assert bool(anywhere) == (overlay in ("gpu-cloud", "gpu-cloud-job", "kueue"))
    for rule in anywhere + [rule for rule in admits(overlay, "egress", head) if "to" not in rule]:
        assert {one["port"] for one in rule["ports"]} <= {443, 6443}
    dns = {"protocol": "UDP", "port": 53}
    (names,) = (rule for rule in admits(overlay, "egress", worker) if dns in rule.get("ports", []))
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in names["to"]  # NodeLocal DNSCache is no pod
    (records,) = admits(overlay, "ingress", {"app.kubernetes.io/name": "postgres"})
    assert records["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mlflow"}}}]


@pytest.mark.parametrize("overlay", JOBS)
def test_a_job_tries_again_and_cleans_up(overlay: str) -> None:
    assert of_kind(overlay, "RayCluster") == []
    (job,) = of_kind(overlay, "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "flare_ray.sweep"]
    assert "--wait" in words  # for the lease of a driver that went with its cluster
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["shutdownAfterJobFinishes"]
    head = dict(pods(overlay))["head"]
    (mount,) = (one for one in head["containers"][0]["volumeMounts"] if one["name"] == "sweep")
    (config,) = of_kind(overlay, "ConfigMap")
    assert words[3] == f"{mount['mountPath']}/{next(iter(config['data']))}"


@pytest.mark.parametrize("overlay", JOBS)
def test_a_jobs_sweep_is_one_of_the_images(overlay: str, tmp_path: Any) -> None:
    """Its file is read as the driver will read it, with the image's sweeps where the image has them."""
    from flare_ray.plan.extends import extended
    from flare_ray.plan.schema import Sweep

    (config,) = of_kind(overlay, "ConfigMap")
    file = tmp_path / "sweep.yaml"
    file.write_text(config["data"]["sweep.yaml"].replace("/home/ray/sweeps", str(ROOT / "sweeps")))
    sweep = Sweep(**extended(file))
    assert "://" in sweep.storage or sweep.storage.startswith("/shared/")
    assert sweep.tracking.uri == "http://mlflow:5000"
    services = [one["metadata"]["name"] for one in of_kind(overlay, "Service")]
    assert "mlflow" in services


@pytest.mark.parametrize("overlay", ["onprem-nfs", "cpu-demo"])
def test_every_pod_of_ray_sees_the_storage_at_one_place(overlay: str) -> None:
    for name, pod in pods(overlay):
        if name not in ("mlflow", "postgres", "submitter"):
            mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
            assert mounts["storage"] == "/shared/flare"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mlflow_takes_its_arguments_and_answers_by_the_services_name_alone(tmp_path: Any) -> None:
    """The server itself, with a file in PostgreSQL's place: other names than its own are refused."""
    (container,) = dict(pods("onprem-nfs"))["mlflow"]["containers"]
    (port,) = free_ports(1)
    moved = {
        "--port=5000": f"--port={port}",
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--workers=2": "--workers=1",
    }
    moved["--artifacts-destination=/artifacts"] = f"--artifacts-destination={tmp_path}/artifacts"
    arguments = [moved.get(one, one) for one in container["args"]]
    (uri,) = (one["value"] for one in container["env"] if one["name"] == "MLFLOW_BACKEND_STORE_URI")
    assert uri == "postgresql+psycopg://mlflow:$(POSTGRES_PASSWORD)@postgres:5432/mlflow"
    command = [sys.executable, "-m", "mlflow", *container["command"][1:], *arguments]
    env = os.environ | {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/records.db"}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path)
        try:

            def ask(path: str, host: str) -> int:
                one = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                one.request("GET", path, headers={"Host": host})
                return one.getresponse().status

            probe = container["startupProbe"]["httpGet"]
            deadline = time.monotonic() + 900
            while True:
                with suppress(OSError):
                    if ask(probe["path"], probe["httpHeaders"][0]["value"]) == 200:
                        break
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(1)
            experiments = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
            assert ask(experiments, "mlflow:5000") == 200
            assert ask(experiments, "elsewhere.example") == 403
            assert (tmp_path / "records.db").exists()
        finally:
            for process in [*psutil.Process(server.pid).children(recursive=True), server]:
                process.kill()
