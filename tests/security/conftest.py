"""A real sweep on a local Ray, run once: with secrets planted in its environment, its sockets watched."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from flare_ray.preflight.strangers import answers_strangers

NAME = "../../<script>alert(1)</script>$(touch sprung)"
"""Of the sweep's model."""
URL = "postgresql://ann:{}@db.example/optuna"
NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "WANDB_API_KEY",
    "POSTGRES_PASSWORD",
    "AZURE_STORAGE_CONNECTION_STRING",
    "OUR_SERVICE_SECRET",
)


@dataclass
class Watched:
    """What a sweep left behind. listening: (process name, address) of every socket that it listened on.

    open_to_strangers: whether its Ray's head answered one without a token.
    """

    storage: Path
    file: Path
    temporary: Path
    planted: dict[str, str]
    code: int = 0
    output: str = ""
    listening: set[tuple[str, str]] = field(default_factory=set)
    open_to_strangers: set[bool] = field(default_factory=set)


@pytest.fixture(scope="session")
def watched(small_sandbox: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A sweep of one base model and two runs, on two workers."""
    place = tmp_path_factory.mktemp("watched")
    temporary = Path(tempfile.mkdtemp(prefix="fr", dir="/tmp"))  # Ray's sockets need a short path
    planted = {name: f"pl4nted{secrets.token_hex(12)}" for name in NAMES}
    planted["IN_A_URL"] = f"pl4nted{secrets.token_hex(12)}"
    token = secrets.token_hex(32)
    file = place / "sweep.yaml"
    made = Watched(place / "results", file, temporary, planted | {"RAY_AUTH_TOKEN": token})
    environment = os.environ | planted | {"OPTUNA_URL": URL.format(planted["IN_A_URL"])}
    del environment["IN_A_URL"]
    environment |= {"RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(temporary), "TMPDIR": str(temporary)}
    environment.pop("RAY_ADDRESS", None)
    environment.pop("RAY_AUTH_MODE", None)  # what is on by default is looked at
    file.write_text(yaml.safe_dump(_fields(small_sandbox, made.storage)))
    command = [sys.executable, "-m", "flare_ray.sweep", str(file)]
    with (place / "output").open("wb") as out:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            found = _listening(process.pid)
            heads = {port for name, _, port in found if name == "gcs_server"}
            if not made.open_to_strangers and heads and any(name == "raylet" for name, _, _ in found):
                made.open_to_strangers |= {answers_strangers(f"127.0.0.1:{port}") for port in heads}
            made.listening |= {(name, ip) for name, ip, _ in found}
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    made.code, made.output = process.returncode, (place / "output").read_text()
    yield made
    shutil.rmtree(temporary, ignore_errors=True)


def _listening(pid: int) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in processes:
        try:
            sockets = process.net_connections(kind="inet")
            found |= {
                (process.name(), one.laddr.ip, one.laddr.port)
                for one in sockets
                if one.status == psutil.CONN_LISTEN
            }
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _fields(sandbox: Path, storage: Path) -> dict[str, object]:
    checkpoint = str(sandbox / "models" / "sandbox-xlm-r")
    return {
        "name": "watched",
        "models": [{"name": NAME, "family": "xlm_roberta", "checkpoint": checkpoint}],
        "tasks": ["nusax"],
        "languages": ["qal"],
        "methods": ["lora", "flare"],
        "rank": [4],
        "seeds": [1],
        "data": {"nusax": str(sandbox / "data" / "nusax")},
        "base": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32, "rank": 8},
        "training": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "max_length": 32},
        "resources": {"workers": 2},
        "storage": str(storage),
    }
