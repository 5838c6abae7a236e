"""`flare-ray store` from the outside: output, exit codes, what is left afterwards."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from small_study import write_study, write_sweep
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.errors import InputError
from flare_ray.plan.grid import expand
from flare_ray.plan.load import load_sweep
from flare_ray.store import Store, open_store

OLD = {"runs": "0" * 20, "bases": "1" * 20, "failure": "2" * 20}
"""Names of work that no sweep needs."""


def call(*arguments: Any) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["store", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "small.yaml", write_study(tmp_path))


@pytest.fixture
def store(sweep: Path, tmp_path: Path) -> Store:
    """All of the sweep's work, and a run, a base and a failure of none."""
    made = open_store(str(tmp_path / "results"))
    grid = expand(load_sweep(sweep))
    for run in grid.runs:
        made.write("runs", run.fingerprint, {"label": run.label})
    for base in grid.bases:
        made.write("bases", base.fingerprint, {"label": base.label})
    for kind in ("runs", "bases"):
        made.write(kind, OLD[kind], {"label": f"of an earlier sweep's {kind}"})
    made.write_failure(OLD["failure"], {"label": "an old run", "error": "ValueError: x"})
    return made


def test_ls_counts_by_kind(store: Store, sweep: Path) -> None:
    code, output = call("ls", "--sweep", sweep, "--json")
    kinds = {row["kind"]: row for row in json.loads(output)["kinds"]}
    assert code == 0
    assert (kinds["runs"]["finished"], kinds["bases"]["finished"]) == (29, 3)
    assert kinds["runs"]["bytes"] == sum(info.bytes for info in store.files.find("runs").values())
    assert call("ls", store.url)[1].splitlines()[-1].endswith(f" in {store.url}")


def test_ls_long_lists_records_with_label_and_age(store: Store) -> None:
    _, output = call("ls", store.url, "--kind", "bases", "--kind", "failures", "--long")
    assert "of an earlier sweep's bases" in output
    assert "an old run: ValueError: x" in output
    assert "earlier sweep's runs" not in output
    entries = json.loads(call("ls", store.url, "--long", "--json")[1])["entries"]
    assert all(0 <= entry["age"] < 600 for entry in entries)


def test_gc_shows_first_and_removes_when_told(store: Store, sweep: Path) -> None:
    planned = {run.fingerprint for run in expand(load_sweep(sweep)).runs}
    store.write_failure(OLD["runs"], {"error": "overtaken"})
    code, output = call("gc", store.url)
    assert code == 0
    assert "failure of finished work" in output
    assert "nothing was removed; --yes removes it" in output
    assert store.failure(OLD["runs"]) is not None
    code, output = call("gc", "--sweep", sweep, "--json")
    places = {one["place"] for one in json.loads(output)["garbage"]}
    assert places == {f"runs/{OLD['runs']}", f"bases/{OLD['bases']}", f"failures/{OLD['runs']}.json"}
    assert OLD["runs"] in store.finished("runs")
    assert call("gc", "--sweep", sweep, "--yes")[0] == 0
    assert store.finished("runs") == planned
    assert "can go: 0 B" in call("gc", "--sweep", sweep)[1]


def test_gc_keeps_what_any_given_sweep_needs(store: Store, sweep: Path, tmp_path: Path) -> None:
    fields = write_study(tmp_path / "other") | {"storage": store.url, "seeds": [7]}
    other = write_sweep(tmp_path / "other.yaml", fields)
    for run in expand(load_sweep(other)).runs:
        store.write("runs", run.fingerprint, {"label": run.label})
    both = json.loads(call("gc", "--sweep", sweep, "--sweep", other, "--json")[1])["garbage"]
    assert len([one for one in both if one["place"].startswith("runs/")]) == 1
    one = json.loads(call("gc", "--sweep", other, "--json")[1])["garbage"]
    assert len([one for one in one if one["place"].startswith("runs/")]) == 29


def test_verify_exits_1_on_damage_and_0_once_it_is_repaired(store: Store) -> None:
    code, output = call("verify", store.url)
    assert (code, output.count("all whole")) == (0, 1)
    store.write_text(f"runs/{OLD['runs']}/record.json", '{"label": ')
    code, output = call("verify", store.url)
    assert code == 1
    assert f"{store.url}/runs/{OLD['runs']}/record.json: record.json cannot be read" in output
    assert call("verify", store.url, "--kind", "bases")[0] == 0
    code, output = call("verify", store.url, "--repair")
    assert code == 0
    assert f"quarantine/runs/{OLD['runs']}." in output
    assert call("verify", store.url)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["ls"], "neither a storage nor --sweep FILE"),
        (["verify", "{tmp}/nowhere"], "nothing is there"),
        (["gc", "nosuchprotocol://bucket/x"], "one of: s3,"),
        (["ls", "--sweep", "{tmp}/none.yaml"], "none.yaml"),
        (["gc", "--sweep", "{tmp}/none.yaml", "--sweep", "{tmp}/nor.yaml"], "2 problems"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    arguments: list[str], wanted: str, tmp_path: Path
) -> None:
    code, output = call(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 2
    assert wanted in output
    assert not (tmp_path / "nowhere").exists()


def test_gc_of_a_folder_that_is_no_store_removes_nothing(sweep: Path, tmp_path: Path) -> None:
    """Another tool's folders have the same names."""
    folder = tmp_path / "results"
    names = ("runs/exp1/a.txt", "ray/python/a.py", f"checkpoints/{'0' * 20}/x.bin", "failures/notes.json")
    for name in (*names, f".unfinished/{'0' * 32}/x", "thesis.unfinished"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    before = sorted(folder.rglob("*"))
    for words in (
        [folder],
        [folder, "--yes"],
        ["--sweep", sweep, "--yes"],
        [folder, "--sweep", sweep, "--yes"],
    ):
        code, output = call("gc", *words)
        assert code == 2
        assert "no id of a store" in output
        assert "run" in output, "what adopts an earlier version's store"
    assert call("verify", folder, "--repair")[0] == 2
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("kind", ["text", "empty", "link", "pipe", "folder"])
def test_gc_takes_nothing_else_for_a_stores_id(kind: str, store: Store, tmp_path: Path) -> None:
    place = Path(store.root, ".store")
    known = place.read_text()
    place.unlink()
    if kind == "link":
        (tmp_path / "id").write_text(known)
        place.symlink_to(tmp_path / "id")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.write_text({"text": "a note of mine", "empty": ""}[kind])
    store.files.guard = None
    code, output = call("gc", store.url, "--yes")
    assert code == 2
    assert ".store" in output
    if kind != "empty":  # which is one that nobody came to fill: opened, it gets an id
        with pytest.raises(InputError, match="32 hex digits"):
            open_store(store.url)


def test_an_earlier_versions_store_gets_its_id_when_it_is_opened_to_be_written(store: Store) -> None:
    Path(store.root, ".store").unlink()
    assert call("gc", store.url)[0] == 2
    open_store(store.url)
    assert call("gc", store.url)[0] == 0


def test_gc_names_what_it_removed_and_what_it_left(store: Store) -> None:
    store.write_failure(OLD["runs"], {"error": "overtaken"})
    Path(store.root, "runs", "exp1").mkdir()
    Path(store.root, "runs", "exp1", "notes.txt").write_text("x")
    code, output = call("gc", store.url, "--yes")
    assert code == 0
    assert f"{store.root}/failures/{OLD['runs']}.json" in output
    assert f"left alone: {store.root}/runs/exp1: not the store's" in output
    assert "not the store's" in call("ls", store.url)[1]
    assert json.loads(call("ls", store.url, "--json")[1])["foreign"] == ["runs/exp1"]
    assert store.failure(OLD["runs"]) is None


def test_gc_with_a_sweep_that_cannot_be_read_removes_nothing(
    store: Store, sweep: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(sweep.read_text() + "nonsense: 1\n")
    before = store.files.find().keys()
    for words in (["--sweep", sweep, "--sweep", bad], [store.url, "--sweep", bad]):
        assert call("gc", *words, "--yes")[0] == 2
        assert store.files.find().keys() == before


def test_verify_names_a_link_in_the_place_of_runs(store: Store, tmp_path: Path) -> None:
    os.rename(f"{store.root}/runs", tmp_path / "big")
    os.symlink(tmp_path / "big", f"{store.root}/runs")
    for words in ([], ["--repair"]):
        code, output = call("verify", store.url, *words)
        assert code == 1
        assert f"{store.root}/runs: is a symbolic link to {tmp_path / 'big'}" in output
    assert f"left alone: {store.root}/runs: not the store's" in call("ls", store.url)[1]
