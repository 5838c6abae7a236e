"""The commands as a user types them: exit codes, one message for bad input, what is printed and written."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from small_study import write_csv, write_study, write_sweep
from typer.testing import CliRunner

from flare_ray import cli, sweep
from flare_ray.plan.grid import Run, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.wire import run_facts
from flare_ray.store import Store


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    return write_study(tmp_path)


@pytest.fixture
def file(tmp_path: Path, fields: dict[str, Any]) -> Path:
    return write_sweep(tmp_path / "sweep.yaml", fields)


@pytest.fixture
def store(fields: dict[str, Any]) -> Store:
    return Store(fields["storage"])


def call(*words: object, app: Any = cli.app) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def keep(store: Store, run: Run, place: Path, macro_f1: float) -> None:
    """A finished run, as a worker leaves it in the store."""
    files = place / "scratch"
    files.mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": ["1"], "prediction": ["neutral"]}), files / "predictions.parquet")
    results = {
        "metrics": {"macro_f1": macro_f1, "accuracy": 50.0},
        "validation": {},
        "history": [],
        "chosen_epoch": 0,
        "chosen_step": 0,
        "data": {},
        "rows": {"test": 3},
        "cost": {"wall_seconds": 1.0},
        "started": 1.7e9,
        "ended": 1.7e9 + 1,
        "provenance": {"versions": {}, "git_commit": None},
    }
    store.write("runs", run.fingerprint, run_facts(run) | results, files)


@pytest.fixture
def finish(tmp_path: Path, file: Path, store: Store) -> Callable[..., list[Run]]:
    """Keeps a record of every planned run that passes, scored 50 + its place in the plan."""

    def finish(passes: Callable[[Run], bool] = lambda run: True) -> list[Run]:
        runs = [run for run in expand(load_sweep(file)).runs if passes(run)]
        for number, run in enumerate(runs):
            keep(store, run, tmp_path, 50.0 + number)
        return runs

    return finish


# ---- plan


@pytest.mark.parametrize(
    "words",
    [(sweep.app, "{file}", "--plan"), (cli.app, "run", "{file}", "--plan"), (cli.app, "plan", "{file}")],
    ids=["python -m flare_ray.sweep --plan", "flare-ray run --plan", "flare-ray plan"],
)
def test_the_plan_is_printed_and_nothing_is_started(file: Path, words: tuple[Any, ...]) -> None:
    app, *rest = words
    done = call(*(word.format(file=file) for word in rest), app=app)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "small: 14 cells, 28 runs" in done.stdout
    assert "base models: 2 to train, 0 stored" in done.stdout
    assert "runs: 28 to do in 2 packs, 0 done" in done.stdout


def test_a_run_gives_its_plan_as_json_too(file: Path) -> None:
    done = call("run", file, "--plan", "--json")
    assert json.loads(done.stdout) == json.loads(call("plan", file, "--json").stdout)
    alone = call("run", file, "--json")
    assert (alone.exit_code, alone.stdout) == (2, "")
    assert "--plan" in alone.stderr


def test_the_plan_as_json_is_whole(file: Path) -> None:
    done = call("plan", file, "--json")
    assert done.exit_code == 0
    plan = json.loads(done.stdout)
    grid = expand(load_sweep(file))
    assert (plan["name"], plan["cells"], plan["skipped"]) == ("small", 14, [])
    assert plan["runs"] == [
        {"fingerprint": run.fingerprint, "label": run.label, "done": False, "seconds": None}
        for run in grid.runs
    ]
    assert [base["fingerprint"] for base in plan["bases"]] == [base.fingerprint for base in grid.bases]
    packed = [fingerprint for pack in plan["packs"] for fingerprint in pack["runs"]]
    assert sorted(packed) == sorted(run.fingerprint for run in grid.runs)


def test_overrides_change_the_plan(file: Path) -> None:
    done = call("plan", file, "--set", "seeds=[1, 2, 3]", "--set", "languages=[ace]", "--set", "rank=[8]")
    assert "small: 4 cells, 12 runs" in done.stdout


def test_the_plan_knows_what_is_done(file: Path, store: Store, finish: Callable[..., list[Run]]) -> None:
    runs = finish(lambda run: run.seed == 1 and run.cell.language == "ace")
    store.write("bases", runs[0].base.fingerprint, {})
    plan = json.loads(call("plan", file, "--json").stdout)
    assert {run["fingerprint"] for run in plan["runs"] if run["done"]} == {run.fingerprint for run in runs}
    assert sum(len(pack["runs"]) for pack in plan["packs"]) == 28 - 7
    done = call("plan", file)
    assert "base models: 1 to train, 1 stored" in done.stdout
    assert "runs: 21 to do in 2 packs, 7 done" in done.stdout


# ---- bad input


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_everything_wrong_is_one_message_before_anything_starts(
    tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_text("")
    write_csv(tmp_path / "data" / "javanese" / "test.csv", [("x9", "text", "neutral")])
    uri, address = f"http://127.0.0.1:{closed_port()}", f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    fields |= {
        "nmae": "x",
        "rank": [0],
        "seeds": [],
        "fusion": ["ad_relu"],
        "storage": str(tmp_path / "a-file" / "results"),
        "tracking": {"uri": uri},
    }
    done = call("run", write_sweep(tmp_path / "sweep.yaml", fields))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert isinstance(done.exception, SystemExit)
    title, *lines = done.stderr.splitlines()
    assert title == f"{tmp_path / 'sweep.yaml'}: 8 problems"
    assert sorted(line.split(": found ")[0].strip() for line in lines) == [
        "RAY_ADDRESS",
        "data.nusax",
        "fusion[0]",
        "nmae",
        "rank[0]",
        "seeds",
        "storage",
        "tracking.uri",
    ]
    assert uri in done.stderr
    assert address in done.stderr
    assert "(such as x9)" in done.stderr


def test_a_plan_needs_neither_cluster_nor_tracking_server(
    tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    fields["tracking"] = {"uri": f"http://127.0.0.1:{closed_port()}"}
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    assert call("plan", file).exit_code == 0
    assert call("run", file, "--plan").exit_code == 0
    assert call("report", file).exit_code == 0
    assert call("run", file).exit_code == 2


def test_the_environments_tracking_server_is_looked_at_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = call("run", file)
    assert done.exit_code == 2
    assert f"tracking.uri: found {uri!r}" in done.stderr


@pytest.mark.parametrize("command", ["run", "plan", "report"])
@pytest.mark.parametrize(
    ("content", "message"),
    [("name: [", "FILE: found while parsing"), ("name: small\nmodles: []\n", "'models' (the nearest)")],
    ids=["syntax", "schema"],
)
def test_every_command_tells_bad_input_the_same_way(
    tmp_path: Path, command: str, content: str, message: str
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(content)
    done = call(command, file, "--set", f"storage={tmp_path / 'results'}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_override_and_a_missing_file_are_bad_input(file: Path, tmp_path: Path) -> None:
    assert call("plan", file, "--set", "nonsense").exit_code == 2
    done = call("plan", tmp_path / "swep.yaml")
    assert done.exit_code == 2
    assert "'sweep.yaml' (the nearest)" in done.stderr


def test_a_sweep_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    number = write_sweep(tmp_path / "number.yaml", {"storage": 3})
    for file in (tmp_path / "absent.yaml", broken, number):
        assert call("run", file).exit_code == 2
    assert list(Path.cwd().iterdir()) == []


def test_no_traceback_reaches_the_terminal(tmp_path: Path, fields: dict[str, Any]) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", {**fields, "rank": [0]})
    line = file.read_text().splitlines().index("- 0") + 1
    done = subprocess.run(
        [sys.executable, "-m", "flare_ray.sweep", str(file)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{file}: 1 problem\n  rank[0]: found 0; wanted greater than 0 (line {line})\n"


# ---- report


def table_rows(text: str) -> dict[str, list[str]]:
    """Method -> cells, of the Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return {name: cells for name, *cells in rows}


def test_a_report_before_anything_ran_shows_every_cell_as_missing(file: Path, fields: dict[str, Any]) -> None:
    done = call("report", file)
    assert done.exit_code == 0
    assert done.stdout.count("–") >= 7 * 3
    folder = Path(fields["storage"]) / "reports" / "small"
    rows = table_rows((folder / "report.md").read_text())
    assert rows.pop("method") == ["ace", "jav", "avg"]
    assert len(rows) == 7
    assert {cell for cells in rows.values() for cell in cells} == {"–"}
    assert (folder / "results.csv").read_text().count("\n") == 1 + 7 * 3
    for name in ("report.md", "results.csv"):
        assert f"written: {folder / name}" in done.stdout


def test_a_report_shows_what_is_there_what_failed_and_what_is_missing(
    file: Path, fields: dict[str, Any], store: Store, finish: Callable[..., list[Run]]
) -> None:
    finish(lambda run: run.cell.method == "zero_shot" or (run.cell.variant == "lora (r=4)" and run.seed == 1))
    for run in expand(load_sweep(file)).runs:
        if run.cell.variant == "lora (r=8)" and run.cell.language == "ace":
            store.write_failure(run.fingerprint, {"error": "ValueError: nan"})
    assert call("report", file).exit_code == 0
    rows = table_rows((Path(fields["storage"]) / "reports" / "small" / "report.md").read_text())
    # in the order of the plan: ace zero_shot 50, 51, lora (r=4) 52; jav zero_shot 53, 54, lora (r=4) 55
    assert rows["zero_shot"] == ["50.5 ± 0.7", "53.5 ± 0.7", "52.0 ± 0.7"]
    assert rows["lora (r=4)"] == ["52.0 (n=1)", "55.0 (n=1)", "53.5 (n=1)"]
    assert rows["lora (r=8)"] == ["failed", "–", "failed"]
    assert rows["flare (mul, r=4)"] == ["–", "–", "–"]


def test_a_report_says_that_the_parallel_text_is_gold(file: Path) -> None:
    assert "Parallel text: gold" in call("report", file).stdout


# ---- a run that finds everything done


def test_when_everything_is_done_nothing_is_trained_and_mlflow_is_completed(
    tmp_path: Path, file: Path, fields: dict[str, Any], finish: Callable[..., list[Run]]
) -> None:
    runs = finish(lambda run: run.cell.method == "zero_shot")
    command = ("run", file, "--set", "methods=[zero_shot]")
    done = call(*command)
    assert done.exit_code == 0, done.output
    assert "runs: 0 to do in 0 packs, 4 done" in done.stdout
    assert "base models: 0 to train" in done.stdout
    assert "Ray" not in done.stdout
    assert "50.5 ± 0.7" in done.stdout
    uri = f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}"
    assert f"flare-ray ui {file} --set 'methods=[zero_shot]'" in done.stdout
    assert str(tmp_path / "results" / "reports" / "small" / "report.md") in done.stdout

    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("small/nusax")
    written = client.search_runs([experiment.experiment_id], "tags.`flare_ray.kind` = 'run'")
    assert {run.info.status for run in written} == {"FINISHED"}
    prints = [run.data.tags["flare_ray.fingerprint"] for run in written]
    assert sorted(prints) == sorted(run.fingerprint for run in runs)
    assert call(*command).exit_code == 0
    cells = {run.cell.label for run in runs}
    assert len(client.search_runs([experiment.experiment_id])) == 4 + len(cells)


def test_help_and_usage() -> None:
    assert call("--help").exit_code == 0
    assert call("plan").exit_code == 2
    for command in ("run", "plan", "report", "doctor"):
        assert command in call("--help").stdout
