"""`flare-ray submit` as typed: what it refuses before it asks the cluster, and what it would submit."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flare_ray import cli
from flare_ray.commands import submit as command
from flare_ray.execution.jobs import Job
from tests.small_study import write_sweep


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a sweep file, which need not be there with all that it names."""
    fields = {"name": "mine", "models": ["xlm-r-large"], "tasks": ["nusax"], "storage": "s3://bucket/mine"}
    folder = tmp_path / "here"
    (folder / "sweeps").mkdir(parents=True)
    write_sweep(folder / "sweeps" / "mine.yaml", fields)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that it would see to their end."""
    jobs: list[Job] = []

    def run(job: Job) -> int:
        jobs.append(job)
        return 1

    monkeypatch.setattr(Job, "run", run)
    return jobs


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["submit", *words])


@pytest.mark.usefixtures("place")
def test_the_job_runs_the_sweep_as_typed(seen: list[Job]) -> None:
    values = ["--set", "seeds=[1, 2]", "--set", "tracking.uri=http://ml:5000", "--retry-failed"]
    done = call("sweeps/mine.yaml", *values, "--env", "HF_HUB_OFFLINE=1", "--wait-for", "60")
    assert done.exit_code == 1, "the sweep's"
    [job] = seen
    assert job.sweep == "mine"
    assert job.entrypoint == (
        "python -m flare_ray.sweep sweeps/mine.yaml --wait --set 'seeds=[1, 2]' "
        "--set tracking.uri=http://ml:5000 --retry-failed"
    )
    assert job.runtime_env["env_vars"]["HF_HUB_OFFLINE"] == "1"
    assert float(job.runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 60, "time for a checkpoint"
    assert job.wait_for == 60
    assert "1 files, 0.0 MiB go along" in done.output


@pytest.mark.usefixtures("place")
def test_no_word_of_the_command_line_is_a_shell_command(seen: list[Job]) -> None:
    assert call("sweeps/mine.yaml", "--set", "languages=[ace]; rm -rf $HOME").exit_code == 2, "no YAML"
    call("sweeps/mine.yaml", "--set", "storage=/shared/a; rm -rf $HOME")
    assert seen[0].entrypoint.endswith("--set 'storage=/shared/a; rm -rf $HOME'")
    assert call("sweeps/mine.yaml", "--set", "name=a; rm -rf $HOME").exit_code == 2


def test_a_storage_that_goes_with_the_job_is_refused(place: Path, seen: list[Job]) -> None:
    for storage in ("results", "./results"):
        done = call("sweeps/mine.yaml", "--set", f"storage={storage}")
        assert done.exit_code == 2
        assert "an absolute path that all nodes share" in done.stderr
    write_sweep(place / "sweeps" / "bare.yaml", {"name": "bare"})
    assert call("sweeps/bare.yaml").exit_code == 2, "what is left out is ./results"
    assert call("sweeps/mine.yaml", "--set", "storage=/shared/mine").exit_code == 1
    assert len(seen) == 1


@pytest.mark.usefixtures("seen")
def test_wrong_input_is_told_before_the_cluster_is_asked(place: Path, tmp_path: Path) -> None:
    write_sweep(tmp_path / "outside.yaml", {"name": "mine", "storage": "s3://b/m"})
    words: dict[str, Any] = {
        "no file": ["sweeps/none.yaml"],
        "outside of": [str(tmp_path / "outside.yaml")],
        "NAME=VALUE": ["sweeps/mine.yaml", "--env", "HF_TOKEN"],
        "dotted.key=value": ["sweeps/mine.yaml", "--set", "seeds"],
    }
    for told, given in words.items():
        done = call(*given)
        assert done.exit_code == 2
        assert told in done.stderr


@pytest.mark.usefixtures("place")
def test_ctrl_c_leaves_the_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(job: Job) -> int:
        job.at_work = "mine-3"
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "run", interrupted)
    done = call("sweeps/mine.yaml")
    assert done.exit_code == 130
    assert "job mine-3 goes on" in done.output


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but the one of --address."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


class Head(BaseHTTPRequestHandler):
    """A head's version, and for all else what a proxy says whose head is away or that is none."""

    status = 503

    def do_GET(self) -> None:
        found = b'{"version": "4", "ray_version": "2.50.0"}' if self.path == "/api/version" else b"a page"
        self.send_response(200 if self.path == "/api/version" else self.status)
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.mark.usefixtures("place", "no_cluster")
@pytest.mark.parametrize(("status", "code"), [(503, 3), (500, 3), (429, 3), (404, 2), (200, 2)])
def test_what_ray_s_own_client_says_of_an_answer_is_understood(
    status: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Head, "status", status)
    with ThreadingHTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = call(
            "sweeps/mine.yaml", "--address", f"http://127.0.0.1:{server.server_port}", "--patience", "0"
        )
        server.shutdown()
    assert done.exit_code == code, done.output
    assert ("the cluster has not answered" in done.output) == (code == 3)


@pytest.mark.usefixtures("place", "no_cluster")
def test_an_address_of_no_cluster_is_wrong_input() -> None:
    for address in ("htp://head:8265", "json://head:8265"):  # no module of Python, and one that is not Ray's
        done = call("sweeps/mine.yaml", "--address", address)
        assert done.exit_code == 2
        assert "--address" in done.stderr


def test_the_client_limits_the_time_of_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    asked: list[Any] = []

    def request(*words: Any, **options: Any) -> Any:
        asked.append(options["timeout"])
        raise requests.ConnectionError("no route")

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(requests, "request", request)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConnectionError):
        command.client("http://127.0.0.1:1")
    assert asked == [60]
