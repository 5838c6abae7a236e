"""`flare-ray report` and `flare-ray diff` on real stores: finished, running, broken, read-only in effect."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from small_study import write_study, write_sweep
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.plan.grid import Run, expand
from flare_ray.plan.load import load_sweep
from flare_ray.plan.wire import run_facts
from flare_ray.store import RECORD, Store
from flare_ray.study import Study
from flare_ray.tasks.nusax import TASK

INSTANCES = 30


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    return write_study(tmp_path) | {"rank": [4], "fusion": ["add_relu"]}


@pytest.fixture
def file(tmp_path: Path, fields: dict[str, Any]) -> Path:
    return write_sweep(tmp_path / "sweep.yaml", fields)


@pytest.fixture
def store(fields: dict[str, Any]) -> Store:
    return Store(fields["storage"])


def keep(store: Store, run: Run, place: Path) -> None:
    """A finished run with predictions that its fingerprint determines."""
    chance = np.random.default_rng(int(run.fingerprint[:8], 16))
    gold = [[TASK.labels[number % 3]] for number in range(INSTANCES)]
    said = [str(chance.choice(TASK.labels)) for _ in gold]
    files = place / run.fingerprint
    files.mkdir()
    table = pa.table({"id": [str(n) for n in range(INSTANCES)], "gold": gold, "prediction": said})
    pq.write_table(table, files / "predictions.parquet")
    record = {
        "metrics": TASK.score(gold, said),
        "cost": {
            "wall_seconds": 10.0,
            "train_seconds": 8.0,
            "trainable_parameters": 12,
            "peak_process_mib": 90.0,
        },
        "provenance": {"versions": {"torch": "2"}, "git_commit": "abc", "device": "cpu"},
    }
    store.write("runs", run.fingerprint, run_facts(run) | record, files)


@pytest.fixture
def finish(tmp_path: Path, file: Path, store: Store) -> Callable[..., list[Run]]:
    def finish(passes: Callable[[Run], bool] = lambda run: True) -> list[Run]:
        runs = [run for run in expand(load_sweep(file)).runs if passes(run)]
        for run in runs:
            keep(store, run, tmp_path)
        return runs

    return finish


def read(place: Path) -> list[dict[str, str]]:
    with place.open() as stream:
        return list(csv.DictReader(stream))


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_all_formats_from_the_store_alone_and_nothing_is_written_there(
    tmp_path: Path, file: Path, store: Store, finish: Callable[..., list[Run]]
) -> None:
    runs = finish()
    before = everything(Path(store.root))
    done = call("report", file, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    names = {"report.md", "report.html", "report.tex", "tables.csv", "runs.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert everything(Path(store.root)) == before
    scores = {line["fingerprint"]: float(line["score"]) for line in read(tmp_path / "out" / "runs.csv")}
    for run in runs:
        kept = pq.read_table(Path(store.root) / "runs" / run.fingerprint / "predictions.parquet")
        gold, said = kept.column("gold").to_pylist(), kept.column("prediction").to_pylist()
        assert scores[run.fingerprint] == pytest.approx(TASK.score(gold, said)["macro_f1"])
    flare = [run for run in runs if run.cell.method == "flare" and run.cell.language == "ace"]
    mean = statistics.fmean(scores[run.fingerprint] for run in flare)
    lines = read(tmp_path / "out" / "tables.csv")
    (cell,) = [
        one
        for one in lines
        if one["table"] == "table-8" and one["row"].startswith("flare") and one["column"] == "ace"
    ]
    assert float(cell["value"]) == pytest.approx(mean)
    assert "too few to conclude" in (tmp_path / "out" / "report.md").read_text()


def test_a_running_sweep_and_a_broken_store_are_reported(
    tmp_path: Path, file: Path, store: Store, finish: Callable[..., list[Run]]
) -> None:
    """Missing and failed runs, a base model that failed, a torn record, torn predictions, a torn failure."""
    runs = finish(lambda run: run.cell.method != "flare" or run.seed == 1)
    absent = [run for run in expand(load_sweep(file)).runs if run not in runs]
    store.write_failure(absent[0].fingerprint, {"error": "ValueError: loss is nan"})
    Path(store.root, "failures", f"{absent[1].fingerprint}.json").write_text("{to")
    zero, lora = (next(run for run in runs if run.cell.method == name) for name in ("zero_shot", "lora"))
    Path(store.root, "runs", zero.fingerprint, RECORD).write_text("{torn")
    Path(store.root, "runs", lora.fingerprint, "predictions.parquet").write_bytes(b"PAR1torn")
    done = call("report", file, "--format", "md,csv", "--out", tmp_path / "out")
    assert done.exit_code == 1, done.output
    assert zero.fingerprint in done.output
    assert lora.fingerprint in done.output
    outcomes = {line["fingerprint"]: line["outcome"] for line in read(tmp_path / "out" / "runs.csv")}
    assert outcomes[zero.fingerprint] == outcomes[lora.fingerprint] == "damaged"
    assert {outcomes[run.fingerprint] for run in absent} == {"failed"}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "loss is nan" in text
    assert "cannot be read" in text
    assert "predictions.parquet has 8 bytes" in text.replace("\\", "")
    assert call("report", file).exit_code == 1


def test_runs_that_wait_for_a_base_model_that_failed_failed_with_it(
    tmp_path: Path, file: Path, store: Store
) -> None:
    base = expand(load_sweep(file)).bases[0]
    store.write_failure(base.fingerprint, {"error": "OutOfMemoryError: 80 GiB"})
    done = call("report", file, "--format", "csv", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = read(tmp_path / "out" / "runs.csv")
    assert {line["outcome"] for line in lines if line["seed"] == str(base.seed)} == {"failed"}
    assert {line["outcome"] for line in lines if line["seed"] != str(base.seed)} == {"missing"}
    assert all(line["error"].startswith("its base model: OutOfMemory") for line in lines if line["error"])


def test_nothing_run_yet_is_a_report_too(tmp_path: Path, file: Path) -> None:
    done = call("report", file, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {line["outcome"] for line in read(tmp_path / "out" / "runs.csv")} == {"missing"}


def test_without_formats_the_tables_go_to_the_store(file: Path, store: Store) -> None:
    assert call("report", file).exit_code == 0
    assert {path.name for path in Path(store.root, "reports", "small").iterdir()} == {
        "report.md",
        "results.csv",
    }


def test_the_comparisons_may_be_left_out_or_be_with_another_row(
    tmp_path: Path, file: Path, finish: Callable[..., list[Run]]
) -> None:
    finish()
    texts = []
    for number, words in enumerate((("--resamples", 0), ("--compare", "lora (r=4)", "--resamples", 100))):
        out = tmp_path / f"out{number}"
        assert call("report", file, "--format", "md", "--out", out, *words).exit_code == 0
        texts.append((out / "report.md").read_text())
    assert "minus each row" not in texts[0]
    assert "lora (r=4) minus each row" in texts[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "pdf"), "--format: found pdf; wanted one of: md, html, tex, csv"),
        (("--compare", "flar", "--format", "md"), "--compare: found 'flar'"),
        (("--out", "taken/out"), "--out: found taken/out"),
    ],
)
def test_wrong_input_is_one_message(file: Path, words: tuple[str, ...], message: str) -> None:
    Path("taken").write_text("")
    done = call("report", file, *words)
    assert (done.exit_code, "Traceback" in done.output) == (2, False)
    assert message in done.stderr


def test_two_stores_of_one_sweep_cell_by_cell(
    tmp_path: Path, file: Path, store: Store, finish: Callable[..., list[Run]]
) -> None:
    finish(lambda run: run.cell.method != "flare")
    other = Store(str(tmp_path / "other"))
    (tmp_path / "second").mkdir()
    for run in expand(load_sweep(file)).runs:
        keep(other, run, tmp_path / "second")
    words = ("diff", file, file, "--set-b", f"storage={tmp_path / 'other'}")
    done = call(*words, "--set", "languages=[ace, jav]", "--format", "csv,html", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "in both: 6" in done.stdout
    lines = read(tmp_path / "out" / "tables.csv")
    differences = {line["shown"] for line in lines if line["column"] == "difference"}
    assert differences == {"+0.0", "–"}
    only = call("diff", file, file, "--set-b", "languages=[jav]")
    assert "Only in A" in only.stdout
    assert "Only in B" not in only.stdout
    assert call("diff", file, tmp_path / "absent.yaml").exit_code == 2


def test_what_searches_chose_is_one_marked_row_and_a_table_of_its_own(
    tmp_path: Path, fields: dict[str, Any], store: Store
) -> None:
    """Each language has its own choice; the row's average is over both."""
    search = {"method": "flare", "space": {"fusion": ["add", "mul"]}, "configurations": 2}
    file = write_sweep(tmp_path / "searched.yaml", fields | {"methods": ["lora"], "searches": [search]})
    study = Study.open(file, to_execute=False)
    scores = []
    for one, fusion in zip(study.searches, ("add", "mul"), strict=True):
        facts = {"selected": {"fusion": fusion}, "configurations": 2, "terms": one.terms, "validation": 61.5}
        store.write_text(one.place, json.dumps(facts | {"failed": []}))
        for seed in one.seeds:
            for run in one.question.runs({"fusion": fusion}, seed):
                keep(store, run, tmp_path)
                scores.append(store.record("runs", run.fingerprint)["metrics"]["macro_f1"])
    done = call("report", file, "--format", "csv,md", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = read(tmp_path / "out" / "tables.csv")
    (average,) = [
        one for one in lines if one["table"] == "table-8" and "†" in one["row"] and one["column"] == "avg"
    ]
    assert float(average["value"]) == pytest.approx(statistics.fmean(scores))
    chosen = {
        one["row"]: one["shown"] for one in lines if one["table"] == "searches" and one["column"] == "chosen"
    }
    assert sorted(chosen.values()) == ["fusion=add", "fusion=mul"]
    assert "chosen on validation" in (tmp_path / "out" / "report.md").read_text()
