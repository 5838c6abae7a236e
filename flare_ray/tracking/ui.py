"""MLflow's UI on a database of our own: a server of one process on this machine, for as long as somebody looks.

with Ui("sqlite:////results/mlflow.db", Path("/results/mlflow-artifacts")) as ui:
    print(ui.url)
    ui.wait()
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType

from flare_ray.guardian import Guardian
from flare_ray.proxy import bypass_proxy_for_loopback
from flare_ray.tracking.ui_app import TOKEN

_APP = "flare-ray-ui"
_STARTS = (
    180.0  # seconds that the server may take: mlflow is imported twice, and a new database gets its tables
)


class Ui:
    """An `mlflow server` on 127.0.0.1; a context manager that is entered when it answers.

    The database's URI goes by the environment, as a command line can be read by every user of the machine. token:
    what every request must have (ui_app.py); without one, every user of the machine may read and write. The server
    ends with this process, however that ends. Raises RuntimeError with what the server said when it does not start.
    """

    def __init__(
        self,
        uri: str,
        artifacts: Path,
        port: int | None = None,
        log: Path | None = None,
        workers: int = 1,
        token: str | None = None,
    ):
        self.uri, self.artifacts, self.port, self.log = uri, artifacts, port or free_port(), log
        self.workers, self.token = workers, token
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Ui:
        bypass_proxy_for_loopback()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--artifacts-destination", str(self.artifacts)]
        if self.workers > 1:  # a busy machine takes longer than uvicorn's 5 s to start one
            command += ["--uvicorn-opts", "--timeout-worker-healthcheck 120"]
        given = {"MLFLOW_BACKEND_STORE_URI": self.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
        given |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._plugin = _plugin() if self.token else None
        if self.token and self._plugin:
            command += ["--app-name", _APP]
            paths = [str(self._plugin), *filter(None, [os.environ.get("PYTHONPATH")])]
            given |= {TOKEN: self.token, "PYTHONPATH": os.pathsep.join(paths)}
        out = self.log.open("ab") if self.log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            command,
            env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | given,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours: the server is ended in order
        )
        if self.log:
            out.close()  # type: ignore[union-attr]
        self._guardian = Guardian(group=self.process.pid, folders=[self._plugin] if self._plugin else [])
        try:
            self._await()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> int:
        """Until the server ends by itself."""
        return self.process.wait()

    def stop(self) -> None:
        """Ends the server and its workers."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)
                self.process.wait()
        self._guardian.close()

    def _await(self) -> None:
        deadline = time.monotonic() + _STARTS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"mlflow server ended with {self.process.returncode}")
            try:
                with _open(self.url, "/health", self.token, timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
        raise RuntimeError(f"mlflow server does not answer at {self.url}")


def _open(
    server: str, path: str, token: str | None, body: bytes | None = None, timeout: float = 30
) -> http.client.HTTPResponse:
    """A server's answer; one on this machine is asked without a proxy. Raises OSError."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"{server.rstrip('/')}{path}", body, headers)
    here = urllib.parse.urlsplit(server).hostname in ("127.0.0.1", "::1", "localhost")
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))
    answer: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    return answer


def _plugin() -> Path:
    """Make a folder that names our application to `mlflow server`, which knows others by entry points alone."""
    folder = Path(tempfile.mkdtemp(prefix="flare-ray-"))
    metadata = folder / "flare_ray_ui-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: flare-ray-ui\nVersion: 0\n", encoding="utf-8"
    )
    (metadata / "entry_points.txt").write_text(
        f"[mlflow.app]\n{_APP} = flare_ray.tracking.ui_app:create_app\n", encoding="utf-8"
    )
    return folder


def experiments(server: str, prefix: str, token: str | None = None) -> dict[str, str]:
    """Experiments of a server whose names begin so: name -> id. Raises OSError."""
    bypass_proxy_for_loopback(server)
    body = json.dumps({"max_results": 1000, "filter": f"name LIKE '{prefix}%'"}).encode()
    with _open(server, "/api/2.0/mlflow/experiments/search", token, body) as answer:
        found = json.load(answer).get("experiments", [])
    return {one["name"]: one["experiment_id"] for one in found if one["name"].startswith(prefix)}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
