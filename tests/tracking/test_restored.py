"""What was deleted, lost or moved under MLflow is there again after a sync, and a second sync writes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run as MlflowRun
from mlflow.store.tracking.abstract_store import AbstractStore
from typer.testing import CliRunner

from flare_ray import cli
from flare_ray.recording import Recording
from flare_ray.study import Study
from flare_ray.tracking import ui as ui_module
from flare_ray.tracking.connection import FINGERPRINT, PARENT, Connection
from flare_ray.tracking.contents import CONTENTS
from flare_ray.tracking.relocation import local_path
from tests.small_study import write_study, write_sweep
from tests.tracking.finished import fail, finish


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    Connection(f"sqlite:///{file}").client.search_experiments()
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    fields = write_study(tmp_path) | {"methods": ["lora"], "languages": ["ace"], "rank": [4], "seeds": [1, 2]}
    return write_sweep(tmp_path / "sweep.yaml", fields | {"name": "tiny", "tracking": {"uri": None}})


@pytest.fixture
def store(tmp_path: Path, file: Path, empty: Path) -> Path:
    """A storage with its own MLflow: 2 runs of 1 cell, which are synced."""
    place = tmp_path / "store"
    place.mkdir()
    shutil.copyfile(empty, place / "mlflow.db")
    study = opened(file, place)
    for run in study.grid.runs:
        finish(study.store, run, tmp_path / "scratch")
    assert sync(file, place) == "2 records in the store, 2 of them written"
    return place


def opened(file: Path, store: Path, *words: str) -> Study:
    return Study.open(file, [f"storage={store}", *words], to_execute=False)


def sync(file: Path, store: Path, *words: str) -> str:
    """What sync says it has written."""
    more = [word for one in words for word in ("--set", one)]
    done = CliRunner().invoke(cli.app, ["sync", str(file), "--set", f"storage={store}", *more])
    assert done.exit_code == 0, done.output
    return done.stdout.partition(" to sqlite")[0]


def client_of(store: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")


def every(store: Path) -> list[MlflowRun]:
    client = client_of(store)
    experiment = client.get_experiment_by_name("tiny/nusax")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def runs(store: Path) -> dict[str, MlflowRun]:
    found = [one for one in every(store) if FINGERPRINT in one.data.tags]
    assert len({one.data.tags[FINGERPRINT] for one in found}) == len(found)
    return {one.data.tags[FINGERPRINT]: one for one in found}


def folder_of(run: MlflowRun) -> Path:
    place = local_path(run.info.artifact_uri)
    assert place
    return place


def files_under(folder: Path) -> set[str]:
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}


FILES = {
    "adapter/README.md",
    "adapter/adapter_model.safetensors",
    "config.json",
    "predictions.parquet",
    "record.json",
}


def assert_whole(file: Path, store: Path, count: int = 2) -> None:
    """All runs, their files in this store, their cell with the numbers of its seeds; and nothing left to write."""
    found = runs(store)
    assert len(found) == count
    (cell,) = [one for one in every(store) if one.data.tags.get("flare_ray.kind") == "cell"]
    assert (cell.info.status, cell.data.metrics["test_seeds"]) == ("FINISHED", count)
    assert cell.data.metrics["test_macro_f1"] == pytest.approx(
        sum(one.data.metrics["test_macro_f1"] for one in found.values()) / count
    )
    assert cell.data.params["rank"] == "4"
    assert cell.info.end_time
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags[PARENT] == cell.info.run_id
        assert run.data.params["seed"]
        assert folder_of(run).is_relative_to(store)
        assert files_under(folder_of(run)) == FILES
    before = {one.info.run_id for one in every(store)}
    assert sync(file, store) == f"{count} records in the store, 0 of them written"
    assert {one.info.run_id for one in every(store)} == before


# ---- deleted


def one_file(store: Path) -> None:
    (folder_of(next(iter(runs(store).values()))) / "predictions.parquet").unlink()


def one_file_of_the_adapter(store: Path) -> None:
    (folder_of(next(iter(runs(store).values()))) / "adapter" / "README.md").unlink()


def the_configuration(store: Path) -> None:
    (folder_of(next(iter(runs(store).values()))) / "config.json").unlink()


def the_folder_of_a_run(store: Path) -> None:
    shutil.rmtree(folder_of(next(iter(runs(store).values()))).parent)


def a_shorter_copy(store: Path) -> None:
    place = folder_of(next(iter(runs(store).values()))) / "record.json"
    content = place.read_bytes()
    place.unlink()
    place.write_bytes(content[:-100])


def a_folder_in_its_place(store: Path) -> None:
    place = folder_of(next(iter(runs(store).values()))) / "record.json"
    place.unlink()
    (place / "inside").mkdir(parents=True)


def a_run(store: Path) -> None:
    client_of(store).delete_run(next(iter(runs(store).values())).info.run_id)


def metrics_of_a_run(store: Path) -> None:
    run = next(iter(runs(store).values())).info.run_id
    execute(store, f"delete from latest_metrics where run_uuid='{run}' and key='test_macro_f1'")


def all_metrics_of_a_run(store: Path) -> None:
    run = next(iter(runs(store).values())).info.run_id
    execute(store, f"delete from latest_metrics where run_uuid='{run}'")
    execute(store, f"delete from metrics where run_uuid='{run}'")


def parameters_of_a_run(store: Path) -> None:
    execute(store, f"delete from params where run_uuid='{next(iter(runs(store).values())).info.run_id}'")


def a_tag_of_a_run(store: Path) -> None:
    client_of(store).delete_tag(next(iter(runs(store).values())).info.run_id, "method")


def the_end_of_a_run(store: Path) -> None:
    client_of(store).update_run(next(iter(runs(store).values())).info.run_id, status="RUNNING")


DELETIONS: list[Callable[[Path], None]] = [
    one_file,
    one_file_of_the_adapter,
    the_configuration,
    the_folder_of_a_run,
    a_shorter_copy,
    a_folder_in_its_place,
    a_run,
    metrics_of_a_run,
    all_metrics_of_a_run,
    parameters_of_a_run,
    a_tag_of_a_run,
    the_end_of_a_run,
]


def execute(store: Path, statement: str) -> None:
    connection = sqlite3.connect(store / "mlflow.db")
    with connection:
        assert connection.execute(statement).rowcount != 0
    connection.close()


@pytest.mark.parametrize("delete", DELETIONS, ids=lambda one: one.__name__)
def test_what_was_deleted_of_a_run_comes_back(
    file: Path, store: Path, delete: Callable[[Path], None]
) -> None:
    delete(store)
    assert sync(file, store) == "2 records in the store, 1 of them written"
    assert_whole(file, store)


def test_all_artifacts_come_back(file: Path, store: Path) -> None:
    shutil.rmtree(store / "mlflow-artifacts")
    assert sync(file, store) == "2 records in the store, 2 of them written"
    assert_whole(file, store)


def test_a_whole_experiment_comes_back(file: Path, store: Path) -> None:
    client = client_of(store)
    client.delete_experiment(every(store)[0].info.experiment_id)
    sync(file, store)
    assert_whole(file, store)


def the_cell(store: Path) -> MlflowRun:
    (cell,) = [one for one in every(store) if one.data.tags.get("flare_ray.kind") == "cell"]
    return cell


@pytest.mark.parametrize(
    "harm",
    [
        "delete",
        "half written",
        "no parameters",
        "no metrics",
        "a wrong mean",
        "twice",
        "no tag",
        "other parameters",
    ],
)
def test_a_cell_is_put_right(file: Path, store: Path, harm: str) -> None:
    cell, client = the_cell(store), client_of(store)
    key = cell.info.run_id
    if harm == "delete":
        client.delete_run(key)
    elif harm == "half written":  # killed between create_run and set_terminated
        execute(store, f"delete from params where run_uuid='{key}'")
        client.update_run(key, status="RUNNING")
    elif harm == "no parameters":
        execute(store, f"delete from params where run_uuid='{key}'")
    elif harm == "no metrics":
        execute(store, f"delete from latest_metrics where run_uuid='{key}'")
    elif harm == "a wrong mean":
        execute(store, f"update latest_metrics set value=1 where run_uuid='{key}' and key='test_macro_f1'")
    elif harm == "twice":
        client.create_run(cell.info.experiment_id, tags=cell.data.tags)
    elif harm == "no tag":
        client.delete_tag(key, "flare_ray.kind")
    else:
        execute(store, f"update params set value='9' where run_uuid='{key}' and key='rank'")
        client.update_run(key, status="RUNNING")
    done = CliRunner().invoke(cli.app, ["sync", str(file), "--set", f"storage={store}"])
    assert (done.exit_code, "0 of them written" in done.stdout) == (0, True), done.output
    assert "1 cells put right" in done.stdout
    assert_whole(file, store)


def test_runs_of_earlier_versions_are_looked_at_as_well(file: Path, store: Path) -> None:
    """They do not say what they had."""
    execute(store, f"delete from tags where key='{CONTENTS}'")
    assert sync(file, store) == "2 records in the store, 0 of them written"
    assert_whole(file, store)
    execute(store, f"delete from tags where key='{CONTENTS}'")
    one_file(store)
    assert sync(file, store) == "2 records in the store, 1 of them written"
    assert_whole(file, store)


def test_a_failure_whose_log_is_gone_gets_it_again(file: Path, store: Path, tmp_path: Path) -> None:
    study = opened(file, store, "seeds=[1,2,3]")
    (left,) = [run for run in study.grid.runs if run.fingerprint not in study.store.finished("runs")]
    fail(study.store, left)
    assert sync(file, store, "seeds=[1,2,3]") == "3 records in the store, 1 of them written"
    log = folder_of(runs(store)[left.fingerprint]) / "failure.log"
    log.unlink()
    assert sync(file, store, "seeds=[1,2,3]") == "3 records in the store, 1 of them written"
    assert "Traceback" in log.read_text()
    assert sync(file, store, "seeds=[1,2,3]") == "3 records in the store, 0 of them written"


def test_an_artifact_that_is_replaced_leaves_the_record_behind_it_alone(file: Path, store: Path) -> None:
    """Artifacts are links to the store's files, and those of another store's where one was copied by links."""
    run = next(iter(runs(store).values()))
    other = store.parent / "precious"
    other.write_text("another store's")
    place = folder_of(run) / "predictions.parquet"
    place.unlink()
    place.hardlink_to(other)
    sync(file, store)
    assert other.read_text() == "another store's"
    assert_whole(file, store)


# ---- moved and copied


def grow(file: Path, store: Path, tmp_path: Path) -> None:
    """One more seed, and a sync."""
    study = opened(file, store, "seeds=[1,2,3]")
    for run in study.grid.runs:
        if run.fingerprint not in study.store.finished("runs"):
            finish(study.store, run, tmp_path / f"scratch-{store.name}")
    assert sync(file, store, "seeds=[1,2,3]") == "3 records in the store, 1 of them written"


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(one.relative_to(folder)): (one.stat().st_mtime_ns, one.stat().st_size)
        for one in folder.rglob("*")
        if one.is_file()
    }


def report(store: Path, tmp_path: Path) -> str:
    uri = f"sqlite:///{store / 'mlflow.db'}"
    words = [
        "report",
        "--experiment",
        "tiny",
        "--uri",
        uri,
        "--resamples",
        "0",
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    return (tmp_path / "out" / "runs.csv").read_text()


def test_a_store_that_was_moved_goes_on_in_its_new_place(file: Path, store: Path, tmp_path: Path) -> None:
    moved = store.rename(tmp_path / "a new 100% place")
    assert "61" in report(moved, tmp_path)
    assert "62" in report(moved, tmp_path)
    grow(file, moved, tmp_path)
    assert not store.exists(), "nothing is written where it was"
    found = runs(moved)
    assert len(found) == 3
    for run in found.values():
        assert folder_of(run).is_relative_to(moved)
        assert files_under(folder_of(run)) == FILES
        inside = {one.path for one in client_of(moved).list_artifacts(run.info.run_id)}
        assert "predictions.parquet" in inside
    assert "63" in report(moved, tmp_path)


@pytest.mark.parametrize("artifacts", ["with", "without"])
def test_two_copies_that_both_go_on_leave_each_other_alone(
    file: Path, store: Path, tmp_path: Path, artifacts: str
) -> None:
    copy = tmp_path / "copy"
    left_out = shutil.ignore_patterns("mlflow-artifacts") if artifacts == "without" else None
    shutil.copytree(store, copy, ignore=left_out)
    before = snapshot(store)
    report(copy, tmp_path)
    if artifacts == "without":
        assert sync(file, copy) == "2 records in the store, 2 of them written"
    grow(file, copy, tmp_path)
    assert snapshot(store) == before
    before = snapshot(copy)
    grow(file, store, tmp_path)
    assert snapshot(copy) == before
    for place in (store, copy):
        assert len(runs(place)) == 3
        for run in runs(place).values():
            assert folder_of(run).is_relative_to(place)
            assert files_under(folder_of(run)) == FILES


def test_a_copy_without_its_original_is_reported_from_and_without_artifacts_says_so(
    file: Path, store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    shutil.rmtree(store)
    assert "61" in report(copy, tmp_path)
    shutil.rmtree(copy / "mlflow-artifacts")
    words = ["report", "--experiment", "tiny", "--uri", f"sqlite:///{copy / 'mlflow.db'}"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2
    assert "2 problems" in done.output
    assert "record.json" in done.output
    assert "flare-ray sync" in done.output


def test_a_report_takes_no_record_for_anothers(store: Path) -> None:
    one, other = (folder_of(run) / "record.json" for run in runs(store).values())
    content = other.read_bytes()
    one.unlink()
    one.write_bytes(content)
    words = ["report", "--experiment", "tiny", "--uri", f"sqlite:///{store / 'mlflow.db'}"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2
    assert "another run's" in done.output


def test_a_report_makes_no_database(tmp_path: Path) -> None:
    words = ["report", "--experiment", "tiny", "--uri", f"sqlite:///{tmp_path / 'mistyped.db'}"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2
    assert "no MLflow database" in done.output
    assert not list(tmp_path.iterdir())


def test_the_ui_of_a_moved_store_shows_its_artifacts(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        def __init__(self, *_: object, **options: object) -> None:
            self.url = "http://127.0.0.1:1"

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self) -> int:
            return 0

    moved = store.rename(tmp_path / "moved")
    monkeypatch.setattr(ui_module, "Ui", Server)
    done = CliRunner().invoke(cli.app, ["ui", "--storage", str(moved)])
    assert done.exit_code == 0, done.output
    for run in runs(moved).values():
        assert folder_of(run).is_relative_to(moved)
        assert files_under(folder_of(run)) == FILES


def test_stores_that_share_a_database_keep_their_own_artifacts(
    file: Path, store: Path, tmp_path: Path
) -> None:
    uri = f"tracking.uri=sqlite:///{store / 'mlflow.db'}"
    other = tmp_path / "other"
    study = opened(file, other, uri, "name=second")
    for run in study.grid.runs:
        finish(study.store, run, tmp_path / "scratch-other")
    assert sync(file, other, uri, "name=second") == "2 records in the store, 2 of them written"
    assert all(folder_of(run).is_relative_to(store) for run in runs(store).values())
    experiment = client_of(store).get_experiment_by_name("second/nusax")
    assert experiment is not None
    made = client_of(store).search_runs([experiment.experiment_id], "tags.`flare_ray.kind` = 'run'")
    assert all(folder_of(run).is_relative_to(other) for run in made)
    assert sync(file, store) == "2 records in the store, 0 of them written"


# ---- logged at once


@pytest.mark.parametrize("way", ["bulk", "client"])
def test_logging_in_the_background_is_overruled(
    file: Path, store: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    if way == "client":
        monkeypatch.setattr(Connection, "bulk", None)
        monkeypatch.setattr(AbstractStore, "log_batch_async", lambda *_, **__: pytest.fail("not at once"))
    a_run(store)
    assert sync(file, store) == "2 records in the store, 1 of them written"
    assert_whole(file, store)


def test_a_run_whose_metrics_mlflow_loses_is_not_finished(
    file: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run(store)
    monkeypatch.setattr(Connection, "bulk", None)
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", lambda *_, **__: None)
    with Recording(opened(file, store)) as recording:
        recording.everything()
    assert any("metrics" in error for error in recording.writer.errors)
    monkeypatch.undo()
    assert sync(file, store) == "2 records in the store, 1 of them written"
    assert_whole(file, store)
