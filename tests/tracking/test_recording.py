"""A study's work in MLflow: from the store, all of it, each run once, under its cell; and `flare-ray sync`."""

from __future__ import annotations

import http.server
import math
import re
import threading
import time
from pathlib import Path
from statistics import mean, stdev

import mlflow
import pytest
import yaml
from mlflow.entities import Run as MlflowRun
from typer.testing import CliRunner

from flare_ray import cli
from flare_ray.errors import InputError
from flare_ray.execution.prefetch import Wanted
from flare_ray.preflight.run import preflight
from flare_ray.recording import Recording, cell_key
from flare_ray.study import Study
from flare_ray.tracking.connection import CELL, FINGERPRINT, PARENT
from tests.small_study import write_study, write_sweep
from tests.tracking.finished import fail, finish


@pytest.fixture
def file(tmp_path: Path, uri: str, request: pytest.FixtureRequest) -> Path:
    """A sweep of 6 runs in 2 cells."""
    fields = write_study(tmp_path) | {"methods": ["lora"], "languages": ["ace"], "seeds": [1, 2, 3]}
    fields |= {"name": re.sub(r"\W+", "-", request.node.name), "tracking": {"uri": uri}}
    return write_sweep(tmp_path / "sweep.yaml", fields)


@pytest.fixture
def study(file: Path) -> Study:
    return Study.open(file)


def written(study: Study, uri: str | None = None) -> list[MlflowRun]:
    client = mlflow.MlflowClient(tracking_uri=uri or study.tracking_uri)
    experiment = client.get_experiment_by_name(f"{study.sweep.name}/nusax")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def children(study: Study, uri: str | None = None) -> dict[str, MlflowRun]:
    found = [run for run in written(study, uri) if FINGERPRINT in run.data.tags]
    by_fingerprint = {run.data.tags[FINGERPRINT]: run for run in found}
    assert len(found) == len(by_fingerprint)
    return by_fingerprint


def parents(study: Study) -> dict[str, MlflowRun]:
    found = [run for run in written(study) if run.data.tags["flare_ray.kind"] == "cell"]
    by_cell = {run.data.tags[CELL]: run for run in found}
    assert len(found) == len(by_cell)
    return by_cell


def record(study: Study) -> list[str]:
    with Recording(study) as recording:
        recording.everything()
    return recording.writer.errors


def test_the_whole_of_a_study_is_there_under_its_cells(study: Study, tmp_path: Path) -> None:
    for run in study.grid.runs:
        finish(study.store, run, tmp_path)
    assert record(study) == []
    runs, cells = children(study), parents(study)
    assert set(runs) == {run.fingerprint for run in study.grid.runs}
    assert set(cells) == {cell_key(run) for run in study.grid.runs}
    assert len(cells) == 2
    for run in study.grid.runs:
        parent = cells[cell_key(run)]
        assert runs[run.fingerprint].data.tags[PARENT] == parent.info.run_id
        assert parent.info.run_name == run.cell.label
        assert parent.info.status == "FINISHED"
        assert "seed" not in parent.data.params
        assert parent.data.params["rank"] == str(dict(run.cell.axes)["rank"])
        values = [61.0, 62.0, 63.0]
        half = (
            4.302652729911275 * stdev(values) / math.sqrt(3)
        )  # Student's 97.5% quantile of two degrees of freedom
        expected = {
            "test_seeds": 3,
            "test_macro_f1": 62.0,
            "test_macro_f1_mean": mean(values),
            "test_macro_f1_std": 1.0,
            "test_macro_f1_ci_low": 62 - half,
            "test_macro_f1_ci_high": 62 + half,
            "test_macro_f1/ace": 62.0,
        }
        assert {name: parent.data.metrics[name] for name in expected} == pytest.approx(expected)


def test_a_cell_grows_with_its_runs(study: Study, tmp_path: Path) -> None:
    first, second, third = [run for run in study.grid.runs if dict(run.cell.axes)["rank"] == 4]
    finish(study.store, first, tmp_path)
    record(study)
    (cell,) = parents(study).values()
    assert cell.data.metrics["test_seeds"] == 1
    assert "test_macro_f1_std" not in cell.data.metrics
    with Recording(study) as recording:  # a driver: one after the other, as they end
        for run in (second, third):
            finish(study.store, run, tmp_path)
            recording.run(run)
    (cell,) = parents(study).values()
    assert (cell.data.metrics["test_seeds"], cell.data.metrics["test_macro_f1"]) == (3, 62.0)


def test_a_file_that_not_every_run_has_is_there_where_it_is(study: Study, tmp_path: Path) -> None:
    first, second = study.grid.runs[:2]
    (tmp_path / first.fingerprint).mkdir()
    (tmp_path / first.fingerprint / "activations.parquet").write_bytes(b"measured")
    for run in (first, second):
        finish(study.store, run, tmp_path)
    record(study)
    client = mlflow.MlflowClient(tracking_uri=study.tracking_uri)
    found = {
        made.data.tags[FINGERPRINT]: {one.path for one in client.list_artifacts(made.info.run_id)}
        for made in children(study).values()
    }
    assert "activations.parquet" in found[first.fingerprint]
    assert "activations.parquet" not in found[second.fingerprint]


def test_files_data_and_config_are_there(study: Study, tmp_path: Path) -> None:
    run = study.grid.runs[0]
    finish(study.store, run, tmp_path)
    record(study)
    (made,) = children(study).values()
    client = mlflow.MlflowClient(tracking_uri=study.tracking_uri)
    names = {one.path for one in client.list_artifacts(made.info.run_id)}
    assert names == {"adapter", "config.json", "predictions.parquet", "record.json"}
    inside = {one.path for one in client.list_artifacts(made.info.run_id, "adapter")}
    assert inside == {"adapter/README.md", "adapter/adapter_model.safetensors"}
    inputs = {one.dataset.name: one for one in made.inputs.dataset_inputs}
    assert set(inputs) == {f"nusax/ace/{split}" for split in ("train", "validation", "test")}
    assert inputs["nusax/ace/train"].dataset.profile == '{"num_rows": 6}'
    assert {tag.key: tag.value for tag in inputs["nusax/ace/test"].tags} == {"mlflow.data.context": "test"}


def test_a_linked_artifact_costs_no_second_copy(study: Study, tmp_path: Path) -> None:
    run = study.grid.runs[0]
    finish(study.store, run, tmp_path)
    record(study)
    (made,) = children(study).values()
    folder = study.store.folder("runs", run.fingerprint)
    place = Path(made.info.artifact_uri.removeprefix("file://"))
    assert (place / "predictions.parquet").samefile(folder / "predictions.parquet")


def test_a_failure_is_a_failed_run_with_its_log_until_the_run_finishes(study: Study, tmp_path: Path) -> None:
    run = study.grid.runs[0]
    fail(study.store, run, at=1_700_000_000.0)
    record(study)
    record(study)
    (failed,) = children(study).values()
    assert failed.info.status == "FAILED"
    assert failed.data.tags["error"] == "ValueError: no rows"
    log = mlflow.MlflowClient(tracking_uri=study.tracking_uri).download_artifacts(
        failed.info.run_id, "failure.log", str(tmp_path)
    )
    assert "Traceback: here" in Path(log).read_text()
    (cell,) = parents(study).values()
    assert cell.data.metrics["test_seeds"] == 0

    fail(study.store, run, at=1_700_000_500.0)  # tried again, and failed again
    record(study)
    (again,) = children(study).values()
    assert (again.info.status, again.info.start_time) == ("FAILED", 1_700_000_500_000)

    finish(study.store, run, tmp_path)
    record(study)
    (finished,) = children(study).values()
    assert finished.info.status == "FINISHED"
    (cell,) = parents(study).values()
    assert cell.data.metrics["test_seeds"] == 1


def test_sync_makes_a_whole_mlflow_anew(file: Path, study: Study, tmp_path: Path) -> None:
    for run in study.grid.runs[:-1]:
        finish(study.store, run, tmp_path)
    fail(study.store, study.grid.runs[-1])
    done = CliRunner().invoke(cli.app, ["sync", str(file)])
    assert done.exit_code == 0, done.output
    assert "6 records in the store, 6 of them written" in done.stdout
    assert set(children(study)) == {run.fingerprint for run in study.grid.runs}

    again = CliRunner().invoke(cli.app, ["sync", str(file)])
    assert "6 records in the store, 0 of them written" in again.stdout

    other = f"sqlite:///{tmp_path / 'other.db'}"
    words = ["--to", other, "--artifacts", str(tmp_path / "elsewhere")]
    anew = CliRunner().invoke(cli.app, ["sync", str(file), *words])
    assert "6 records in the store, 6 of them written" in anew.stdout
    assert set(children(study, other)) == {run.fingerprint for run in study.grid.runs}
    assert len(list((tmp_path / "elsewhere").rglob("predictions.parquet"))) == 5


def test_a_second_copy_that_a_killed_writer_left_goes(study: Study, tmp_path: Path) -> None:
    run = study.grid.runs[0]
    finish(study.store, run, tmp_path)
    record(study)
    (made,) = children(study).values()
    client = mlflow.MlflowClient(tracking_uri=study.tracking_uri)
    for status in ("FINISHED", "RUNNING"):
        copy = client.create_run(made.info.experiment_id, tags=made.data.tags)
        if status == "FINISHED":
            client.set_terminated(copy.info.run_id)
    assert record(study) == []
    (kept,) = children(study).values()
    assert kept.info.status == "FINISHED"


# ---- a server that is away from the very start


@pytest.fixture
def closed(study: Study, uri: str) -> Study:
    """The same study, recorded on a server that is not there. Nothing of it is finished yet."""
    fields = yaml.safe_load(study.file.read_text()) | {"tracking": {"uri": "http://127.0.0.1:9"}}
    file = write_sweep(study.file.with_name("away.yaml"), fields)
    return Study.open(file, to_execute=False)


@pytest.mark.parametrize("kind", ["runs", "bases", "corpora"])
def test_a_sweep_with_finished_work_goes_on_without_its_server(closed: Study, kind: str) -> None:
    """A driver that was lost while MLflow is down must be able to start again."""
    with pytest.raises(InputError, match=r"tracking.uri: .* does not answer: .*refused") as error:
        Study.open(closed.file)
    assert error.value.exit_code == 2, "a mistyped address would look the same"
    closed.store.write(kind, "done", {"label": "an earlier start's"})
    (warned,) = Study.open(closed.file).warnings
    assert "does not answer" in warned.found
    found = preflight(Study.open(closed.file), closed.stages(), Wanted())
    (told,) = [one for one in found if one.what == "tracking"]
    assert (told.state, "does not answer" in told.found) == ("warning", True)


@pytest.mark.parametrize("address", ["http://localhost:port", "http://["])
def test_an_address_that_is_none_stays_an_error(closed: Study, address: str) -> None:
    closed.store.write("runs", "done", {"label": "an earlier start's"})
    with pytest.raises(InputError, match=r"tracking\.uri"):
        Study.open(closed.file, [f"tracking.uri={address}"])


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_stays_an_error(closed: Study, status: int) -> None:
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    closed.store.write("runs", "done", {"label": "an earlier start's"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match=f"answers {status}"):
            Study.open(closed.file, [f"tracking.uri=http://127.0.0.1:{server.server_port}"])
        server.shutdown()


def test_what_a_server_that_was_never_there_has_not_got_is_written_later(closed: Study, uri: str) -> None:
    first, *others = closed.grid.runs
    finish(closed.store, first, closed.file.parent)
    slowest = 0.0
    with Recording(closed, patience=1) as recording:
        recording.everything()
        for run in others:
            finish(closed.store, run, closed.file.parent)
            started = time.perf_counter()
            recording.run(run)
            slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 1, "whoever hands a run over waits for nobody"
    (error,) = recording.writer.errors
    assert error.startswith("6 runs wait in the store, the server is away")
    with Recording(closed, uri=uri) as later:
        later.everything()
    assert later.writer.errors == []
    assert children(closed, uri).keys() == {run.fingerprint for run in closed.grid.runs}


@pytest.mark.slow
def test_a_command_goes_on_without_its_server(closed: Study) -> None:
    for run in closed.grid.runs:
        finish(closed.store, run, closed.file.parent)
    done = CliRunner().invoke(cli.app, ["run", str(closed.file)])
    assert done.exit_code == 0, done.output
    assert "not in MLflow (the store has it, the next start tries again): 6 runs wait" in done.output
