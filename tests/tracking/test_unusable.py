"""A database or address that MLflow cannot use is reported at once by every command, and stops no running sweep."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from flare_ray import cli
from flare_ray.errors import InputError
from flare_ray.recording import Recording
from flare_ray.study import Study
from flare_ray.tracking import database_check
from flare_ray.tracking.connection import FINGERPRINT, Connection
from flare_ray.tracking.database_check import database_problems, schema_revisions, sqlite_file
from flare_ray.tracking.uris import uri_problems
from tests.small_study import write_study, write_sweep
from tests.tracking.finished import finish


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("whole") / "mlflow.db"
    Connection(f"sqlite:///{file}").client.search_experiments()
    return file


@pytest.fixture
def database(whole: Path, tmp_path: Path) -> Path:
    """A whole database in a storage."""
    (tmp_path / "store").mkdir()
    return Path(shutil.copyfile(whole, tmp_path / "store" / "mlflow.db"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    fields = write_study(tmp_path) | {"methods": ["lora"], "languages": ["ace"], "rank": [4], "seeds": [1, 2]}
    fields |= {"name": "tiny", "tracking": {"uri": None}, "storage": str(tmp_path / "store")}
    return write_sweep(tmp_path / "sweep.yaml", fields)


def of_revision(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update alembic_version set version_num = ?", (revision,))


def older(database: Path) -> str:
    of_revision(database, "bd07f7e963c5")
    return f"mlflow db upgrade sqlite:///{database}"


def newer(database: Path) -> str:
    of_revision(database, "ffffffffffff")
    return "newer MLflow"


def without_revision(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("delete from alembic_version")
    return "older MLflow"


def truncated(database: Path) -> str:
    content = database.read_bytes()
    database.write_bytes(content[: len(content) // 2])
    return "move the file away"


def cut_in_the_header(database: Path) -> str:
    database.write_bytes(database.read_bytes()[:60])
    return "flare-ray sync"


def no_database(database: Path) -> str:
    database.write_text("experiment,metric\n1,2\n" * 100)
    return "not a database"


def zeros(database: Path) -> str:
    database.write_bytes(bytes(database.stat().st_size))
    return "not a database"


def zeros_inside(database: Path) -> str:
    content = bytearray(database.read_bytes())
    content[8192:-4096] = bytes(len(content) - 8192 - 4096)
    database.write_bytes(content)
    return "move the file away"


def a_folder(database: Path) -> str:
    database.unlink()
    (database / "inside").mkdir(parents=True)
    return "no file"


def a_dangling_link(database: Path) -> str:
    database.unlink()
    database.symlink_to(database.parent / "nowhere" / "mlflow.db")
    return "does not exist"


def another_tools(database: Path) -> str:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("create table studies (study_id integer)")
        connection.execute("create table alembic_version (version_num text)")
    return "something else"


HARMS: list[Callable[[Path], str]] = [
    older,
    newer,
    without_revision,
    truncated,
    cut_in_the_header,
    no_database,
    zeros,
    zeros_inside,
    a_folder,
    a_dangling_link,
    another_tools,
]


def asked(*words: str) -> tuple[int, str, float]:
    """A command's exit code, its output and how long it took."""
    started = time.monotonic()
    done = CliRunner().invoke(cli.app, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split()), time.monotonic() - started


@pytest.mark.parametrize("harm", HARMS, ids=lambda one: one.__name__)
def test_every_command_says_at_once_what_is_wrong_with_a_database(
    database: Path, file: Path, harm: Callable[[Path], str]
) -> None:
    expected = harm(database)
    commands = [
        ["doctor", str(file)],
        ["run", str(file)],
        ["sync", str(file)],
        ["report", "--experiment", "tiny", "--uri", f"sqlite:///{database}"],
    ]
    if harm is not a_dangling_link:  # it has nothing to show, as where nothing is
        commands.append(["ui", str(file)])
        commands.append(["ui", "--storage", str(database.parent)])
    for words in commands:
        code, output, seconds = asked(*words)
        assert code == 2, (words, output)
        assert expected in output or (harm is a_dangling_link and "no MLflow database" in output), words
        assert str(database) in output
        assert "Traceback" not in output
        assert seconds < 15, words


def test_a_plan_and_a_report_of_the_store_need_no_mlflow(database: Path, file: Path) -> None:
    older(database)
    for words in (["plan", str(file)], ["report", str(file)]):
        code, output, _ = asked(*words)
        assert code == 0, output


def test_a_file_that_cannot_be_written_is_read_only(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a read-only file system answers; permissions stop no root."""
    monkeypatch.setattr(database_check, "_may", lambda path, mode: not mode & os.W_OK)
    (problem,) = database_problems(f"sqlite:///{database}")
    assert "cannot be written" in problem.found
    assert database_problems(f"sqlite:///{database}", to_write=False) == []


def test_an_empty_file_becomes_a_database(database: Path, file: Path) -> None:
    database.write_bytes(b"")
    code, output, _ = asked("sync", str(file))
    assert code == 0, output


@pytest.fixture
def locked(database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database that another connection keeps to itself."""
    monkeypatch.setattr(database_check, "LOCK_SECONDS", 0.3)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield database


def test_a_lock_is_waited_for_within_bounds_and_may_pass(locked: Path, file: Path) -> None:
    for words in (["sync", str(file)], ["ui", str(file)], ["run", str(file)]):
        code, output, seconds = asked(*words)
        assert (code, "locked" in output) == (75, True), output
        assert seconds < 10
    (problem,) = database_problems(f"sqlite:///{locked}")
    assert problem.passes


def test_a_journal_of_a_writer_that_was_killed_is_no_damage(database: Path, tmp_path: Path) -> None:
    """Its changes are rolled back by whoever comes next."""
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("pragma cache_size = 1")
        writer.execute("begin")
        for number in range(2000):
            writer.execute(f"insert into experiments (name) values ('{number}{'x' * 200}')")
        copied = tmp_path / "mlflow.db"
        shutil.copyfile(database, copied)
        shutil.copyfile(f"{database}-journal", f"{copied}-journal")
    assert database_problems(f"sqlite:///{copied}", to_write=False) == []
    with closing(sqlite3.connect(copied)) as reader:
        assert reader.execute("select count(*) from experiments").fetchone() == (1,)


def test_the_revisions_are_those_that_mlflow_has() -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision

    head, known = schema_revisions()
    assert head == _get_latest_schema_revision()
    assert {"bd07f7e963c5", head} <= known


# ---- in the middle of a sweep


def runs_of(database: Path) -> set[str]:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("tiny/nusax")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {one.data.tags[FINGERPRINT] for one in found if FINGERPRINT in one.data.tags}


@pytest.mark.parametrize("harm", [truncated, no_database, a_folder], ids=lambda one: one.__name__)
def test_a_sweep_that_runs_goes_on_without_its_database(
    database: Path, whole: Path, file: Path, tmp_path: Path, harm: Callable[[Path], str]
) -> None:
    study = Study.open(file, to_execute=False)
    first, second = study.grid.runs
    finish(study.store, first, tmp_path / "scratch")
    started = time.monotonic()
    with Recording(study) as recording:
        recording.everything()
        wait_for(lambda: recording.writer.written == 1)
        harm(database)
        finish(study.store, second, tmp_path / "scratch")
        recording.run(second)
    assert time.monotonic() - started < 30, "what will not pass is not waited for"
    assert any(
        "1 runs wait in the store, MLflow's database cannot be used" in one for one in recording.writer.errors
    )
    assert len(recording.writer.errors) <= 2
    if database.is_dir():
        shutil.rmtree(database)
    else:
        database.unlink()
    shutil.copyfile(whole, database)  # whose tables take seconds to make
    code, output, _ = asked("sync", str(file))
    assert (code, "2 of them written" in output) == (0, True), output
    assert runs_of(database) == {first.fingerprint, second.fingerprint}


def test_a_driver_that_starts_itself_again_goes_on_without_its_database(
    database: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.open(file)
    finish(study.store, study.grid.runs[0], tmp_path / "scratch")
    no_database(database)
    with pytest.raises(InputError, match="not a database"):
        Study.open(file)
    monkeypatch.setenv("FLARE_RAY_RESTARTS", "1:1")
    (warned,) = Study.open(file).warnings
    assert "not a database" in warned.found


@pytest.mark.parametrize("how", ["deleted", "mended"])
def test_a_database_that_is_mended_while_a_sweep_runs_gets_what_waited(
    database: Path, whole: Path, file: Path, tmp_path: Path, how: str
) -> None:
    study = Study.open(file, to_execute=False)
    first, second = study.grid.runs
    finish(study.store, first, tmp_path / "scratch")
    with Recording(study) as recording:
        recording.everything()
        wait_for(lambda: recording.writer.written == 1)
        if how == "mended":
            no_database(database)
        else:
            database.unlink()
        finish(study.store, second, tmp_path / "scratch")
        recording.run(second)
        if how == "mended":
            wait_for(lambda: recording.writer.outages > 0)
            database.unlink()
            shutil.copyfile(whole, database)
    assert recording.writer.errors == []
    assert runs_of(database) == {second.fingerprint}
    assert asked("sync", str(file))[0] == 0
    assert runs_of(database) == {first.fingerprint, second.fingerprint}


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- addresses that can be none

WRONG = [
    "127.0.0.1:5000",
    "localhost:5000",
    "mlflow.example",
    "./mlruns",
    "/var/mlruns",
    "file:///var/mlruns",
    "file:mlruns",
    "http//x",
    "http:/x",
    "https:x",
    "http://",
    "http://:5000",
    "http://host:port",
    "http://host:70000",
    "http://host:5000/#/experiments/1",
    "http://a b",
    " http://host",
    "http://host\n",
    "s3://b/x",
    "gs://b/x",
    "ftp://host",
    "mlflow://host",
    "databricks",
    "databricks://profile",
    "uc:x",
    "mysql://user:s3cret@host/db",
    "mssql://host/db",
    "oracle://host/db",
    "postgresql+nothing://host/db",
    "postgresql:",
    "sqlite:/x",
    "sqlite:x.db",
    "sqlite://",
    "sqlite://host/x.db",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite:///~/mlflow.db",
    "sqlite:///$HOME/mlflow.db",
    "sqlite:////data/",
    "sqlite+aiosqlite:///x.db",
    "   ",
]


@pytest.mark.parametrize("uri", WRONG)
def test_an_address_that_can_be_none_is_wrong_input(uri: str) -> None:
    (problem,) = uri_problems(uri)
    assert not problem.passes
    assert "s3cret" not in str(problem)
    assert "sqlite:////PATH" in problem.wanted


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "HTTPS://mlflow.example/prefix/",
        "http://user:password@host:5000",
        "http://[::1]:5000",
        "sqlite:///mlflow.db",
        "sqlite:////data/my results/mlflow.db",
        "postgresql+psycopg://user:password@host/db",
    ],
)
def test_an_address_that_can_be_one_is_fine(uri: str) -> None:
    assert uri_problems(uri) == []


@pytest.mark.parametrize("uri", ["127.0.0.1:5000", "./mlruns", "s3://b/x"])
def test_every_command_refuses_it_before_anything_starts(
    uri: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for command in ("doctor", "run", "sync", "ui", "plan"):
        code, output, seconds = asked(command, str(file))
        assert (code, "tracking.uri" in output and "MLFLOW_TRACKING_URI" in output) == (2, True), (
            command,
            output,
        )
        assert seconds < 10
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert asked("sync", str(file), "--to", uri)[0] == 2
    assert asked("report", "--experiment", "tiny", "--uri", uri)[0] == 2


def test_a_database_server_that_is_away_is_not_waited_for() -> None:
    started = time.monotonic()
    (problem,) = database_problems("postgresql+psycopg://me:s3cret@127.0.0.1:9/db")
    assert time.monotonic() - started < 10
    assert problem.passes
    assert "s3cret" not in str(problem)


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:///a.db", Path("a.db")),
        ("sqlite:////a/b.db?timeout=3", Path("/a/b.db")),
        ("sqlite+pysqlite:////a/b.db", Path("/a/b.db")),
        ("sqlite://", None),
        ("http://a", None),
    ],
)
def test_the_file_of_an_address(uri: str, file: Path | None) -> None:
    assert sqlite_file(uri) == file
