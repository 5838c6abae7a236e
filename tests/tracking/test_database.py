"""A database file is whole or not there, whoever is killed over it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flare_ray.tracking import database
from flare_ray.tracking.connection import Connection


def experiments(file: Path) -> list[str]:
    return [one.name for one in Connection(f"sqlite:///{file}").client.search_experiments()]


def test_a_new_file_is_one_that_mlflow_takes(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mlflow.db"
    database.ensure(f"sqlite:///{file}")
    assert experiments(file) == ["Default"]
    assert list(file.parent.iterdir()) == [file], "nothing is left beside it"


def test_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"mine")
    database.ensure(f"sqlite:///{file}")
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "postgresql://me@127.0.0.1:1/db", "sqlite://"])
def test_of_anything_else_nothing_is_made(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(database, "_make", lambda file: pytest.fail("made"))
    database.ensure(uri)
    assert not list(tmp_path.iterdir())


def test_several_at_once_get_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_make", lambda file: file.write_bytes(b"whole"))
    file = tmp_path / "mlflow.db"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: database.ensure(f"sqlite:///{file}"), range(40)))
    assert list(tmp_path.iterdir()) == [file]


def test_a_maker_that_is_killed_leaves_nothing_half_made(tmp_path: Path) -> None:
    """Killed between MLflow's first tables and the steps that bring them up to date."""
    file = tmp_path / "mlflow.db"
    program = (
        "import sys, time, mlflow.store.db.utils as utils\n"
        "from flare_ray.tracking.connection import Connection\n"
        "utils._upgrade_db = lambda engine: (print('half', flush=True), time.sleep(600))\n"
        "Connection(sys.argv[1]).client.search_experiments()"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", program, f"sqlite:///{file}"], stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout
    assert maker.stdout.readline() == "half\n"
    maker.kill()
    maker.wait()
    assert not file.exists()
    assert experiments(file) == ["Default"]
