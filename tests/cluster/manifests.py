"""The Kubernetes overlays as kubectl would apply them, and schemas to hold them against."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.dockerfile import ROOT

OVERLAYS = ROOT / "cluster/kuberay/overlays"
NAMES = tuple(sorted(folder.name for folder in OVERLAYS.iterdir()))
CRDS = "FLARE_RAY_CRDS"
"""A folder with KubeRay's own schemas: its repository's ray-operator/config/crd/bases."""
Object = dict[str, Any]


@cache
def built(overlay: str) -> tuple[Object, ...]:
    """What `kubectl apply -k` would send."""
    return build(OVERLAYS / overlay)


def build(folder: Path) -> tuple[Object, ...]:
    tool = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    done = subprocess.run([tool, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def changed(scratch: Path, overlay: str, file: str, old: str, new: str) -> tuple[Object, ...]:
    """An overlay, built after a user has changed the files of that name (below cluster/kuberay)."""
    shutil.copytree(OVERLAYS.parent, scratch / "kuberay", dirs_exist_ok=True)
    found = list((scratch / "kuberay").glob(file))
    assert any(old in one.read_text() for one in found), (file, old)
    for one in found:
        one.write_text(one.read_text().replace(old, new))
    return build(scratch / "kuberay/overlays" / overlay)


def of_kind(overlay: str | tuple[Object, ...], kind: str) -> list[Object]:
    """The objects of a kind, of an overlay or of what it was built to."""
    return [one for one in _objects(overlay) if one["kind"] == kind]


def ray_cluster(overlay: str | tuple[Object, ...]) -> Object:
    """The Ray cluster's specification: one of its own, or its job's."""
    for one in _objects(overlay):
        if one["kind"] == "RayCluster":
            return one["spec"]
        if one["kind"] == "RayJob":
            return one["spec"]["rayClusterSpec"]
    raise AssertionError(f"{overlay} has no Ray cluster")


def _objects(overlay: str | tuple[Object, ...]) -> tuple[Object, ...]:
    return built(overlay) if isinstance(overlay, str) else overlay


def pods(overlay: str | tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Every pod's specification, by a name."""
    spec = ray_cluster(overlay)
    yield "head", spec["headGroupSpec"]["template"]["spec"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group["template"]["spec"]
    for one in _objects(overlay):
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]
        if one["kind"] == "RayJob":
            yield "submitter", one["spec"]["submitterPodTemplate"]["spec"]


def schemas() -> dict[tuple[str, str], Object]:
    """KubeRay's schemas by kind and version, made strict: a field that they do not know is an error."""
    found = {}
    for file in sorted(Path(os.environ[CRDS]).glob("ray.io_*.yaml")):
        definition = yaml.safe_load(file.read_text())["spec"]
        for version in definition["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"].pop("metadata")
            _strict(schema)
            schema["properties"]["metadata"] = {"type": "object"}
            found[definition["names"]["kind"], version["name"]] = schema
    return found


def _strict(schema: Any) -> None:
    if isinstance(schema, list):
        for one in schema:
            _strict(one)
    elif isinstance(schema, dict):
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
        if isinstance(schema.get("properties"), dict) and "type" in schema:
            open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
            if not open_ended:
                schema.setdefault("additionalProperties", False)
        for one in schema.values():
            _strict(one)
