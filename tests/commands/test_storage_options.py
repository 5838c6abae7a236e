"""Every command takes the storages that a sweep takes, and refuses all others before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.commands import submit
from flare_ray.errors import Problem, Unreachable
from flare_ray.store import open_store

REFUSED = ("memory://x", "http://host/x", "zip://a::s3://b", "s3:/bucket", "$SCRATCH/x", "", " ", "x\ny")
TABLE = ("translate", "table.csv", "--column", "text", "--to", "qal", "--model", "sandbox-nllb")
TASK = ("translate", "--task", "nusax", "--data", "sandbox", "--to", "qal", "--model", "sandbox-nllb")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a table, where nothing may start Ray."""
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("text\nhello\n")
    monkeypatch.setattr("flare_ray.translate.connect", lambda: pytest.fail("Ray was started"))


@pytest.mark.parametrize("storage", REFUSED)
def test_a_storage_that_no_sweep_takes_is_refused_by_every_command(storage: str) -> None:
    for words in (TABLE, TASK):
        done = CliRunner().invoke(app, [*words, "--storage", storage])
        assert (done.exit_code, "--storage: found" in done.output) == (2, True), (words, done.output)
    for command in ("ls", "gc", "verify"):
        done = CliRunner().invoke(app, ["store", command, storage])
        assert (done.exit_code, "STORAGE: found" in done.output) == (2, True), (command, done.output)
    assert [path.name for path in Path().iterdir()] == ["table.csv"]


def test_all_options_of_a_translation_are_checked_at_once() -> None:
    words = ("--beams", "0", "--precision", "fp8", "--gpus", "1.5", "--storage", "memory://x")
    done = CliRunner().invoke(app, [*TASK, *words])
    assert done.exit_code == 2
    assert done.output.startswith("translate: 4 problems")
    assert all(f"  {option}: found" in done.output for option in words[::2])


def test_json_of_a_store_has_no_nan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "results"))
    store.write("runs", "0" * 20, {"label": "a run"})
    monkeypatch.setattr("flare_ray.commands.store.time.time", lambda: float("nan"))

    def no_constant(name: str) -> None:
        pytest.fail(f"{name} in JSON")

    for words in (("ls", "--long"), ("verify",), ("gc",)):
        done = CliRunner().invoke(app, ["store", *words, store.url, "--json"])
        assert json.loads(done.output, parse_constant=no_constant)["storage"] == store.url


def test_submit_ends_with_the_exit_code_of_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def extended(file: Path) -> None:
        raise Unreachable(str(file), [Problem("FILE", "no answer", "a disk that answers", passes=True)])

    monkeypatch.setattr(submit, "extended", extended)
    assert CliRunner().invoke(app, ["submit", "sweep.yaml"]).exit_code == 75


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_a_kind_that_stores_do_not_have_is_refused(command: str, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "results"))
    done = CliRunner().invoke(app, ["store", command, store.url, "--kind", "runz", "--kind", "bases"])
    assert done.exit_code == 2
    assert "--kind: found 'runz'; wanted 'runs' (the nearest)" in done.output
    assert CliRunner().invoke(app, ["store", command, store.url, "--kind", "bases"]).exit_code == 0
