"""The UI is for this machine."""

from pathlib import Path

import psutil
import pytest

from flare_ray.tracking.ui import Ui


@pytest.mark.slow
@pytest.mark.timeout(600)
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
