"""What the files for `ray up` have run on machines: each command read or run by what will read or run it there.

No machine is reached: Ray's own runner writes the `docker run` of head and workers, Ray's own command line reads
`ray start`, and Azure's vault is played by a server on this machine.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ray.autoscaler._private.command_runner import DockerCommandRunner, SSHCommandRunner
from ray.autoscaler._private.util import prepare_config
from ray.scripts.scripts import start

from flare_ray.execution.capacity import DRIVER_NODE
from tests.cluster.test_ray_up import CLOUDS, EVERY, Config, load, workers

IMAGE = ["RAY_AUTH_MODE=token", "HOME=/home/ray", "USER=ray"]


def bash(command: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{home}:{os.environ['PATH']}", "HOME": str(home), "USER": "ubuntu", **more}
    return subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=False)


def tool(folder: Path, name: str, script: str) -> None:
    """A command of this name, found before the machine's."""
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("name", EVERY)
def test_rays_command_line_takes_what_starts_a_node(name: str) -> None:
    config = prepare_config(load(name))
    for commands, head in (
        (config["head_start_ray_commands"], True),
        (config["worker_start_ray_commands"], False),
    ):
        assert commands[0] == "ray stop"
        words = shlex.split(commands[-1].replace("$RAY_HEAD_IP", "10.0.0.1"))
        if name == "onprem" and head:
            assert words.pop(0) == "RAY_enable_autoscaler_v2=0"
        assert words[:2] == ["ray", "start"]
        given = start.make_context("ray start", words[2:]).params
        assert given["head"] is head
        assert given["address"] == (None if head else "10.0.0.1:6379")
        assert bool(given["autoscaling_config"]) is head
        if name == "onprem":
            assert json.loads(given["resources"] or "{}") == ({DRIVER_NODE: 1} if head else {})


@pytest.fixture
def docker_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of a file and a kind of node, the words of the `docker run` that Ray has run on it. It has an NVIDIA GPU."""

    def of(name: str, head: bool) -> list[str]:
        config, ran = load(name), []

        def answer(self: Any, cmd: str, **_: Any) -> bytes:
            ran.append(cmd)
            if ".Config.Env" in cmd:
                return json.dumps(IMAGE).encode()
            if ".Runtimes" in cmd:
                return b"map[io.containerd.runc.v2:{} nvidia:{nvidia-container-runtime}]"
            return b"MemAvailable: 64000000 kB" if "meminfo" in cmd else b"docker"

        monkeypatch.setattr(SSHCommandRunner, "run", answer)
        ssh = {"log_prefix": "", "node_id": "1", "provider": None, "auth_config": config["auth"]}
        ssh |= {"cluster_name": config["cluster_name"], "process_runner": None, "use_internal_ip": True}
        runner = DockerCommandRunner(config["docker"], **ssh)
        runner.run_init(as_head=head, file_mounts=config["file_mounts"], sync_run_yet=True)
        (line,) = [command for command in ran if command.startswith("docker run")]
        return shlex.split(line)

    return of


@pytest.mark.parametrize("name", EVERY)
def test_ray_starts_the_container_with_the_token_and_the_head_alone_with_secrets(
    name: str, docker_run: Any
) -> None:
    for head in (True, False):
        words = docker_run(name, head)
        mounts = [words[at + 1] for at, word in enumerate(words) if word == "-v"]
        assert mounts == ["/tmp/ray_tmp_mount/flare-ray/~/.ray/auth_token:/home/ray/.ray/auth_token"]
        assert "RAY_AUTH_MODE=token" in words
        assert "--net=host" in words
        assert ("--env-file" in words) is head
        assert "--runtime=nvidia" in words
        assert any(word.startswith("--shm-size=") for word in words)
        assert words[-2:] == [load(name)["docker"]["image"], "bash"]


@pytest.mark.parametrize("name", CLOUDS)
def test_the_ssh_user_is_let_to_docker_once(name: str, tmp_path: Path) -> None:
    config = load(name)
    groups = [group["initialization_commands"] for group in workers(config).values()]
    first = config["initialization_commands"][0]
    assert groups == [[first]] * 4
    done = tmp_path / "done"
    for used in ("sudo", "sleep"):
        tool(tmp_path, used, f'echo {used} "$@" >> {done}')
    tool(tmp_path, "id", "echo ubuntu docker")
    assert bash(first, tmp_path).returncode == 0
    assert not done.exists()
    tool(tmp_path, "id", "echo ubuntu dockerish")
    assert bash(first, tmp_path).returncode == 0
    assert done.read_text() == "sudo usermod -aG docker ubuntu\nsleep 15\n"
    tool(tmp_path, "sudo", "exit 1")
    assert bash(first, tmp_path).returncode != 0


class Vault(BaseHTTPRequestHandler):
    """Azure's metadata service and a key vault: a token for who says `Metadata`, a secret for who has the token."""

    shut: ClassVar[bool] = False

    def do_GET(self) -> None:
        if self.path.startswith("/metadata/identity/oauth2/token?") and self.headers["Metadata"] == "true":
            assert "resource=https://vault.azure.net" in self.path
            self._answer(200, {"access_token": "t0ken"})
        elif self.headers["Authorization"] == "Bearer t0ken" and not self.shut:
            self._answer(200, {"value": "HF_TOKEN=a\nMLFLOW_TRACKING_URI=b", "id": self.path})
        else:
            self._answer(403, {"error": "Forbidden"})

    def _answer(self, status: int, body: Config) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def vault() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Vault)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
def test_azures_head_reads_its_environment_from_the_vault(
    vault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = load("azure")["initialization_commands"][1]
    for host in ("http://169.254.169.254", "https://VAULT.vault.azure.net"):
        assert command.count(host) == 1
        command = command.replace(host, vault)
    assert bash(command, tmp_path).returncode == 0
    file = tmp_path / "flare-ray.env"
    assert file.read_text() == "HF_TOKEN=a\nMLFLOW_TRACKING_URI=b\n"
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(Vault, "shut", True)
    refused = bash(command, tmp_path)
    assert refused.returncode != 0
    assert "403" in refused.stderr


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_a_heads_environment_is_for_its_user_alone(name: str, tmp_path: Path) -> None:
    tool(tmp_path, name.replace("gcp", "gcloud"), "echo HF_TOKEN=a")
    assert bash(load(name)["initialization_commands"][1], tmp_path).returncode == 0
    file = tmp_path / "flare-ray.env"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("HF_TOKEN=a\n", 0o600)
