"""The database for optuna-dashboard is only a view: whatever is in its place, a search is told nothing of it."""

import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from flare_ray.execution.dashboard import Dashboard, View

SPACE = {"rank": [4, 8]}


def garbage(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def folder(file: Path) -> None:
    file.mkdir()


def pipe(file: Path) -> None:
    os.mkfifo(file)


def old(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("create table version_info (version_info_id integer, schema_version integer)")
        connection.execute("insert into version_info values (1, 3)")


def nowhere(file: Path) -> None:
    file.symlink_to(file.parent / "gone" / "optuna.db")


@pytest.mark.parametrize("fault", [garbage, folder, pipe, old, nowhere])
def test_what_cannot_be_opened_is_warned_of_once(
    fault: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "optuna.db"
    fault(file)
    dashboard = Dashboard(file)
    with caplog.at_level(logging.WARNING, logger="flare_ray"):
        for name in ("one", "two"):
            view = View(name, SPACE, dashboard)
            view.add({"rank": 4}, 1.0, False)
            view.add({"rank": 8}, None, False)
    assert [str(file) in record.getMessage() for record in caplog.records] == [True]


def test_a_database_that_another_program_locks_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flare_ray.execution.dashboard._LOCKED_SECONDS", 0.1)
    file = tmp_path / "optuna.db"
    view = View("one", SPACE, Dashboard(file))
    view.add({"rank": 4}, 1.0, False)
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("begin exclusive")
        view.add({"rank": 8}, 1.0, False)
        view.add({"rank": 8}, 1.0, False)
        other.execute("rollback")
    assert len([record for record in caplog.records if record.name.startswith("flare_ray")]) == 1


def test_a_database_that_works_has_every_configuration(tmp_path: Path) -> None:
    import optuna

    file = tmp_path / "optuna.db"
    dashboard = Dashboard(file)
    view = View("one", SPACE, dashboard)
    view.add({"rank": 4}, 1.0, False)
    view.add({"rank": 8}, None, False)
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{file}")
    assert [trial.params["rank"] for trial in study.get_trials()] == [4, 8]
    assert stat.S_ISREG(file.stat().st_mode)
