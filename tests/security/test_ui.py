"""The UI is for one user of this machine, and ends with the command that started it."""

import http.cookiejar
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil
import pytest

from flare_ray.tracking.ui import Ui

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
COMMAND = [sys.executable, "-c", "from flare_ray.cli import app; app()"]


@dataclass
class Shown:
    """A `flare-ray ui` and what it printed: the address without and with the token."""

    process: subprocess.Popen[str]
    url: str
    entrance: str


def show(storage: Path) -> Shown:
    command = [*COMMAND, "ui", "--storage", str(storage)]
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "PYTHONUNBUFFERED": "1"}
    environment.pop("no_proxy", None)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"MLflow: ((http://127\.0\.0\.1:\d+)/\S*)", line):
            return Shown(process, found[2], found[1])
    raise AssertionError(f"it ended with {process.wait()}")


def asked(
    url: str,
    body: bytes | None = None,
    method: str | None = None,
    token: str = "",
    jar: http.cookiejar.CookieJar | None = None,
) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
    request = urllib.request.Request(url, body, headers, method=method)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    handlers += [urllib.request.HTTPCookieProcessor(jar)] if jar is not None else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder whose database has one run with one artifact."""
    folder = tmp_path_factory.mktemp("results")
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    made = client.create_experiment("small/nusax", (folder / "mlflow-artifacts").as_uri())
    run = client.create_run(made)
    client.log_text(run.info.run_id, "kept", "note.txt")
    return folder


@pytest.fixture(scope="module")
def shown(storage: Path) -> Iterator[Shown]:
    made = show(storage)
    yield made
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(60) == 0


SEARCH = "/api/2.0/mlflow/experiments/search"
REQUESTS = {
    "page": ("/", None, None),
    "health": ("/health", None, None),
    "version": ("/version", None, None),
    "script": ("/static-files/static/js/main.js", None, None),
    "read": (SEARCH, b'{"max_results": 5}', None),
    "read in the UI's way": ("/ajax-api/2.0/mlflow/experiments/search?max_results=5", None, None),
    "write": ("/api/2.0/mlflow/experiments/create", b'{"name": "planted"}', None),
    "delete": ("/api/2.0/mlflow/experiments/delete", b'{"experiment_id": "1"}', None),
    "artifact": ("/get-artifact?path=note.txt&run_uuid=x", None, None),
    "written artifact": ("/api/2.0/mlflow-artifacts/artifacts/planted.txt", b"planted", "PUT"),
    "graphql": ("/graphql", b"{}", None),
    "traces": ("/v1/traces", b"{}", None),
}


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer ", "Basic bm9ib2R5Og=="])
@pytest.mark.parametrize("request_", REQUESTS)
def test_without_the_token_there_is_nothing(request_: str, token: str, shown: Shown, storage: Path) -> None:
    path, body, method = REQUESTS[request_]
    status, text = asked(shown.url + path, body, method, token)
    assert status == 401
    assert b"nusax" not in text
    assert not list(storage.rglob("planted*"))


def test_the_printed_address_opens_it_for_a_browser(shown: Shown) -> None:
    jar = http.cookiejar.CookieJar()
    status, page = asked(shown.entrance, jar=jar)
    assert status == 200
    assert b"<html" in page.lower()
    (cookie,) = jar
    assert cookie.has_nonstandard_attr("HttpOnly")
    status, found = asked(shown.url + SEARCH, b'{"max_results": 5}', jar=jar)
    assert status == 200
    assert b"small/nusax" in found
    assert b"planted" not in found


def test_mlflows_own_clients_use_the_token(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", shown.entrance.partition("token=")[2])
    client = mlflow.MlflowClient(shown.url)
    (experiment,) = client.search_experiments(filter_string="name = 'small/nusax'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["note.txt"]


def test_no_other_user_reads_the_token_in_a_command_line(shown: Shown) -> None:
    token = shown.entrance.partition("token=")[2]
    process = psutil.Process(shown.process.pid)
    lines = [" ".join(one.cmdline()) for one in [process, *process.children(recursive=True)]]
    assert len(lines) >= 3
    assert not [line for line in lines if token in line]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_server_ends_with_the_command(number: signal.Signals, storage: Path) -> None:
    made = show(storage)
    family = psutil.Process(made.process.pid).children(recursive=True)
    made.process.send_signal(number)
    assert made.process.wait(60) == (-9 if number == signal.SIGKILL else 0)
    deadline = time.monotonic() + 20
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [process for process in family if alive(process)]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_ui_listens_on_this_machine_alone(tmp_path: Path) -> None:
    with Ui(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts") as ui:
        server = psutil.Process(ui.process.pid)
        sockets = [
            one.laddr
            for process in [server, *server.children(recursive=True)]
            for one in process.net_connections(kind="inet")
            if one.status == psutil.CONN_LISTEN
        ]
    assert {one.port for one in sockets} >= {ui.port}
    assert {one.ip for one in sockets} == {"127.0.0.1"}
