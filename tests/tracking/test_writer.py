"""The MLflow view of the store, in a real sqlite file that all tests here share (each has its own experiments)."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run, ViewType

from flare_ray.tracking.connection import FINGERPRINT
from flare_ray.tracking.uris import refused, unreachable
from flare_ray.tracking.writer import Load, Writer


def a_record(number: int, **changes: Any) -> dict[str, Any]:
    record = {
        "fingerprint": f"print{number}",
        "label": f"tiny/nusax/ace/flare (add_relu, r=4)/seed {number}",
        "cell": "tiny/nusax/ace/flare (add_relu, r=4)",
        "model": "tiny",
        "family": "xlm_roberta",
        "checkpoint": "org/tiny",
        "task": "nusax",
        "language": "ace",
        "method": "flare",
        "variant": "flare (add_relu, r=4)",
        "axes": {"rank": 4, "fusion": "add_relu"},
        "seed": number,
        "settings": {"epochs": 2, "learning_rate": 2e-4, "rank": 4, "alpha": 8},
        "identity": {},
        "base": "base1",
        "metrics": {"macro_f1": 61.5 + number, "accuracy": 70.0},
        "validation": {"validation_macro_f1": 66.0},
        "history": [
            {"step": 10, "epoch": 1, "train_loss": 1.5, "validation_macro_f1": 50.0},
            {"step": 20, "epoch": 2, "train_loss": 0.5, "validation_macro_f1": 66.0},
        ],
        "chosen_epoch": 2,
        "chosen_step": 20,
        "rows": {"train": 500, "validation": 100, "test": 400},
        "data": {"train": {"dropped: empty text": 2}, "test": {}},
        "cost": {"wall_seconds": 12.5, "trainable_parameters": 1234},
        "started": 1_700_000_000.25,
        "ended": 1_700_000_012.75,
        "provenance": {"versions": {"torch": "2.9", "peft": "0.21"}, "git_commit": "abc123", "device": "cpu"},
    }
    return record | changes


@dataclass
class Study:
    """A place of records, written as the store writes them, and what MLflow has of them."""

    uri: str
    client: mlflow.MlflowClient
    place: Path
    name: str

    def loader(self, record: dict[str, Any]) -> Load:
        folder = self.place / "runs" / record["fingerprint"]
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({"id": ["1", "2"], "prediction": ["neutral", "positive"]})
        pq.write_table(table, folder / "predictions.parquet")
        (folder / "record.json").write_text(json.dumps(record))
        return lambda: (record, folder)

    def write(
        self, *records: dict[str, Any], loader: Callable[[dict[str, Any]], Load] | None = None
    ) -> Writer:
        writer = Writer(self.uri, self.name, (self.place / "artifacts").as_uri())
        for record in records:
            writer.submit(record["task"], record["fingerprint"], (loader or self.loader)(record))
        writer.close()
        return writer

    def runs(self, task: str = "nusax") -> list[Run]:
        experiment = self.client.get_experiment_by_name(f"{self.name}/{task}")
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id]))


@pytest.fixture
def study(uri: str, client: mlflow.MlflowClient, tmp_path: Path, request: pytest.FixtureRequest) -> Study:
    return Study(uri, client, tmp_path, request.node.name)


def test_a_record_becomes_one_finished_run_with_everything(study: Study) -> None:
    record = a_record(1)
    writer = study.write(record)
    assert (writer.errors, writer.written) == ([], 1)
    (run,) = study.runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == record["label"]
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_250, 1_700_000_012_750)

    expected_params = {
        "model": "tiny",
        "checkpoint": "org/tiny",
        "task": "nusax",
        "language": "ace",
        "method": "flare",
        "seed": "1",
        "rank": "4",
        "fusion": "add_relu",
        "epochs": "2",
        "learning_rate": "0.0002",
        "alpha": "8",
    }
    assert run.data.params == expected_params

    expected_metrics = {
        "test_macro_f1": 62.5,
        "test_accuracy": 70.0,
        "test_macro_f1/ace": 62.5,
        "test_accuracy/ace": 70.0,
        "chosen_validation_macro_f1": 66.0,
        "rows_train": 500,
        "rows_validation": 100,
        "rows_test": 400,
        "data_train_dropped_empty_text": 2,
        "epoch": 2,
        "wall_seconds": 12.5,
        "trainable_parameters": 1234,
        "chosen_epoch": 2,
        "chosen_step": 20,
        "train_loss": 0.5,
        "validation_macro_f1": 66.0,
    }
    assert run.data.metrics == expected_metrics

    expected_tags = {
        FINGERPRINT: "print1",
        "flare_ray.base": "base1",
        "sweep": study.name,
        "cell": record["cell"],
        "model": "tiny",
        "task": "nusax",
        "language": "ace",
        "method": "flare",
        "variant": record["variant"],
        "seed": "1",
        "git_commit": "abc123",
        "mlflow.source.git.commit": "abc123",
        "device": "cpu",
        "version.torch": "2.9",
        "version.peft": "0.21",
    }
    assert expected_tags.items() <= run.data.tags.items()


def test_answers_that_cannot_be_given_are_metrics(study: Study) -> None:
    lost = {"data": {"test": {"answer not in the prompt": 319}}, "ceilings": {"test": 52.3}}
    study.write(a_record(1) | lost)
    (run,) = study.runs()
    assert run.data.metrics["data_test_answer_not_in_the_prompt"] == 319
    assert run.data.metrics["ceiling_test"] == 52.3


def test_the_learning_curve_is_by_step(study: Study) -> None:
    study.write(a_record(1))
    (run,) = study.runs()
    curve = study.client.get_metric_history(run.info.run_id, "train_loss")
    assert sorted((point.step, point.value) for point in curve) == [(10, 1.5), (20, 0.5)]
    (final,) = study.client.get_metric_history(run.info.run_id, "test_macro_f1")
    assert (final.step, final.value) == (20, 62.5)


def test_predictions_and_record_are_artifacts(study: Study, tmp_path: Path) -> None:
    record = a_record(1)
    study.write(record)
    (run,) = study.runs()
    folder = Path(study.client.download_artifacts(run.info.run_id, "", str(_made(tmp_path / "got"))))
    assert {file.name for file in folder.iterdir()} == {"predictions.parquet", "record.json", "config.json"}
    assert json.loads((folder / "record.json").read_text()) == record
    assert pq.read_table(folder / "predictions.parquet")["prediction"].to_pylist() == ["neutral", "positive"]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_each_task_has_its_experiment_and_each_record_its_run(study: Study) -> None:
    study.write(a_record(1), a_record(2), a_record(3, task="other"), a_record(2))
    assert sorted(run.data.tags[FINGERPRINT] for run in study.runs()) == ["print1", "print2"]
    assert [run.data.tags[FINGERPRINT] for run in study.runs("other")] == ["print3"]


def test_a_second_writer_adds_nothing_and_loads_nothing(study: Study) -> None:
    study.write(a_record(1), a_record(2))
    before = {run.info.run_id for run in study.runs()}

    def refuse(record: dict[str, Any]) -> Load:
        def load() -> Any:
            raise AssertionError("what MLflow has already is not read from the store again")

        return load if record["seed"] < 3 else study.loader(record)

    writer = study.write(a_record(1), a_record(2), a_record(3), loader=refuse)
    assert (writer.errors, writer.written) == ([], 1)
    after = {run.info.run_id for run in study.runs()}
    assert before < after
    assert len(after) == 3


def test_a_half_written_run_is_replaced_and_other_peoples_runs_stay(study: Study) -> None:
    study.write(a_record(1))
    experiment = study.runs()[0].info.experiment_id
    half = study.client.create_run(experiment, tags={FINGERPRINT: "print2"}).info.run_id
    foreign = study.client.create_run(experiment, tags={"mine": "yes"}).info.run_id
    study.write(a_record(1), a_record(2))
    runs = {run.info.run_id: run for run in study.runs()}
    assert half not in runs
    assert foreign in runs
    ours = [run for run in runs.values() if FINGERPRINT in run.data.tags]
    assert {(run.data.tags[FINGERPRINT], run.info.status) for run in ours} == {
        ("print1", "FINISHED"),
        ("print2", "FINISHED"),
    }
    assert len(ours) == 2


def test_an_error_in_one_record_does_not_stop_the_next(study: Study) -> None:
    def loader(record: dict[str, Any]) -> Load:
        def fail() -> Any:
            raise FileNotFoundError("gone from the store")

        load = study.loader(record)
        if record["seed"] == 3:
            (study.place / "runs" / "print3" / "predictions.parquet").unlink()
        return fail if record["seed"] == 1 else load

    incomplete = a_record(2)
    del incomplete["provenance"]
    writer = study.write(a_record(1), incomplete, a_record(3), a_record(4), loader=loader)
    assert writer.written == 1
    assert [error.split(": ")[0] for error in writer.errors] == ["print1", "print2", "print3"]
    assert "FileNotFoundError: gone from the store" in writer.errors[0]
    assert "KeyError: 'provenance'" in writer.errors[1]
    finished = [run for run in study.runs() if run.info.status == "FINISHED"]
    assert [run.data.tags[FINGERPRINT] for run in finished] == ["print4"]

    again = study.write(a_record(1), a_record(2), a_record(3), a_record(4))
    assert (again.errors, again.written) == ([], 3)
    assert sorted((run.data.tags[FINGERPRINT], run.info.status) for run in study.runs()) == [
        (f"print{number}", "FINISHED") for number in range(1, 5)
    ]


def test_more_than_mlflow_takes_at_once(study: Study) -> None:
    """MLflow takes 100 parameters and 1000 metrics a request, and 6000 characters a parameter."""
    settings = {f"option{number}": number for number in range(150)} | {
        "long": "x" * 7000,
        "nested": {"a": [1, 2]},
    }
    history = [{"step": step, "train_loss": 1 / step, "validation_macro_f1": 50.0} for step in range(1, 601)]
    writer = study.write(a_record(1, settings=settings, history=history))
    assert writer.errors == []
    (run,) = study.runs()
    assert (
        len(run.data.params)
        == 150 + 2 + len({"model", "checkpoint", "task", "language", "method", "seed"}) + 2
    )
    assert run.data.params["long"] == "x" * 6000
    assert run.data.params["nested.a"] == "[1, 2]"
    assert len(study.client.get_metric_history(run.info.run_id, "train_loss")) == 600


def test_a_run_without_training_and_without_git_is_written_too(study: Study) -> None:
    provenance = {"versions": {}, "git_commit": None}
    record = a_record(
        1, history=[], validation={}, chosen_epoch=0, chosen_step=0, axes={}, provenance=provenance
    )
    assert study.write(record).errors == []
    (run,) = study.runs()
    assert run.data.tags["git_commit"] == "unknown"
    assert run.data.metrics["test_macro_f1"] == 62.5


def test_the_artifacts_lie_where_the_writer_was_told(study: Study) -> None:
    study.write(a_record(1))
    (run,) = study.runs()
    assert run.info.artifact_uri.startswith((study.place / "artifacts").as_uri())
    assert study.client.search_runs([run.info.experiment_id], run_view_type=ViewType.DELETED_ONLY) == []


# ---- a tracking server


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a server that answers /health with a status, and everything else with 500; gives its URL."""
    servers = []

    def start(status: int, other: int = 500) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/health" else other)
                self.end_headers()
                self.wfile.write(b"OK")

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [200, 401, 403, 404])
def test_a_server_that_is_there_is_no_problem(serve: Callable[[int], str], status: int) -> None:
    uri = serve(status)
    assert unreachable(uri) == []
    assert unreachable(f"{uri}/") == []


@pytest.mark.parametrize(("status", "may_pass"), [(503, True), (429, True), (400, False)])
def test_a_server_that_is_ill_is_a_problem(serve: Callable[[int], str], status: int, may_pass: bool) -> None:
    (problem,) = unreachable(serve(status))
    assert problem.where == "tracking.uri"
    assert f"answers {status}" in problem.found
    assert problem.passes == may_pass


@pytest.mark.parametrize(("status", "number"), [(200, 0), (401, 1), (403, 1), (404, 0), (500, 0)])
def test_a_server_that_refuses_the_credentials_does_so_at_its_experiments(
    serve: Callable[..., str], status: int, number: int
) -> None:
    """/health is open to all."""
    uri = serve(200, status)
    assert unreachable(uri) == []
    found = refused(uri.replace("http://", "http://ann:pl4nted@"))
    assert [problem.passes for problem in found] == [False] * number
    assert "pl4nted" not in str(found)


def test_a_closed_port_is_a_problem() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
    (problem,) = unreachable(uri)
    assert problem.where == "tracking.uri"
    assert uri in problem.found
    assert "MLflow server" in problem.wanted
    assert problem.passes


def test_a_port_that_speaks_something_else_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        (problem,) = unreachable(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert "does not answer" in problem.found
    assert not problem.passes


@pytest.mark.parametrize("uri", ["http://", "http://[", "http://localhost:port", "https://a b"])
def test_an_address_that_is_none_is_a_problem_not_a_traceback(uri: str) -> None:
    (problem,) = unreachable(uri)
    assert problem.where == "tracking.uri"
    assert not problem.passes


def test_a_file_needs_no_server() -> None:
    assert unreachable("sqlite:////nowhere/mlflow.db") == []
