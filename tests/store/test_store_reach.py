"""A storage that cannot be asked: what its user is told, by which exit code, from every command."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import FaultyS3, s3_server
from small_study import write_study, write_sweep
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.errors import UNREACHABLE, InputError, Unreachable
from flare_ray.execution.retries import kind_of
from flare_ray.store import Store, StoreAway, StoreRefused, open_store, patience, read_store

pytest.importorskip("moto")
pytest.importorskip("s3fs")
URL = "s3://bucket/study"


@pytest.fixture(autouse=True)
def _account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and nothing of this machine's; little patience."""
    for name in ("AWS_PROFILE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "ATTEMPTS", 2)
    Store(URL).fs.clear_instance_cache()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    with s3_server() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep.yaml", write_study(tmp_path) | {"storage": URL})


def call(*words: Any) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


COMMANDS = [("run",), ("plan",), ("report",), ("store", "ls", "--sweep"), ("store", "verify", "--sweep")]


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_credentials_every_command_says_so(words: tuple[str, ...], sweep: Path) -> None:
    code, output = call(*words, sweep)
    assert code == 2
    assert "NoCredentialsError: Unable to locate credentials" in output
    assert "Traceback" not in output


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("words", COMMANDS[:2] + COMMANDS[3:4], ids=" ".join)
def test_a_service_that_is_away_is_another_exit_code(words: tuple[str, ...], sweep: Path) -> None:
    code, output = call(*words, sweep)
    assert code == UNREACHABLE == 75
    assert "EndpointConnectionError" in output


@pytest.mark.usefixtures("away")
def test_what_is_wrong_beside_an_outage_is_wrong_input(sweep: Path) -> None:
    code, output = call("plan", sweep, "--set", "rank=[0]")
    assert code == 2
    assert "EndpointConnectionError" in output
    assert "rank[0]" in output


@pytest.mark.usefixtures("no_credentials")
def test_doctor_names_it_as_a_finding(sweep: Path) -> None:
    code, output = call("doctor", sweep)
    assert code == 2
    assert "bad" in output
    assert "NoCredentialsError" in output


@pytest.mark.parametrize("opens", [open_store, read_store])
def test_refusals_and_outages_are_told_apart(server: FaultyS3, opens: Callable[[str], Store]) -> None:
    with pytest.raises(InputError, match="The specified bucket does not exist") as refused:
        opens("s3://no-such-bucket/study")
    assert not isinstance(refused.value, Unreachable)
    bucket = f"b-{uuid.uuid4().hex[:10]}"
    Store(URL).fs.mkdir(bucket)
    opens(f"s3://{bucket}/study")
    server.busy = 1.0
    with pytest.raises(Unreachable, match="reduce your request rate"):
        opens(f"s3://{bucket}/study")


@pytest.mark.usefixtures("away")
def test_a_worker_tries_again_what_a_storage_that_is_away_kept_it_from() -> None:
    with pytest.raises(StoreAway) as error:
        Store(URL).has("runs", "r1")
    assert kind_of(error.value) == "io"


@pytest.mark.usefixtures("no_credentials")
def test_a_driver_that_is_refused_says_so_in_one_word() -> None:
    with pytest.raises(StoreRefused, match="NoCredentialsError"):
        Store(URL).finished("runs")
