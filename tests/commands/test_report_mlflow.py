"""A report from MLflow alone has the numbers of one from the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.commands.gather import gather
from flare_ray.commands.gather_mlflow import gather_mlflow
from flare_ray.errors import InputError
from flare_ray.recording import Recording
from flare_ray.report.results import Results
from flare_ray.study import Study
from tests.small_study import write_study, write_sweep
from tests.tracking.finished import finish


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Every run finished but two: one failed, one never ended."""
    place = tmp_path_factory.mktemp("study")
    study = Study.open(write_sweep(place / "sweep.yaml", write_study(place)))
    *finished, failed, _ = study.grid.runs
    for number, run in enumerate(finished):
        finish(study.store, run, place / "scratch", 50.0 + number)
    study.store.write_failure(
        failed.fingerprint, {"label": failed.label, "kind": "bug", "error": "no", "at": 1.0}
    )
    with Recording(study) as recording:
        recording.everything()
    assert not recording.writer.errors
    return study


def scores(results: Results) -> dict[tuple[str, ...], float]:
    return {
        (
            run.facts["model"],
            run.facts["task"],
            run.facts["language"],
            run.row,
            run.facts["seed"],
        ): run.record["metrics"]
        for run in results.runs
        if run.record
    }


def test_the_same_runs_with_the_same_numbers(study: Study) -> None:
    ours, theirs = gather_mlflow(study.tracking_uri, "small"), gather(study)
    assert scores(ours) == scores(theirs)
    assert len(scores(ours)) == len(study.grid.runs) - 2
    [failed] = [run for run in ours.runs if run.outcome == "failed"]
    assert failed.error == "no"
    rows = {(block.model, block.task): set(block.rows) for block in ours.blocks()}
    assert rows == {(block.model, block.task): set(block.rows) for block in theirs.blocks()}
    assert ours.predictions
    assert theirs.predictions
    print_ = next(run.facts["fingerprint"] for run in theirs.runs if run.record)
    assert ours.activations
    assert ours.activations(print_) is None


def test_a_sweep_is_not_taken_for_another_whose_name_differs_in_an_underscore(study: Study) -> None:
    with pytest.raises(InputError, match="no run of 'sm_ll'"):
        gather_mlflow(study.tracking_uri, "sm_ll")


def test_one_source_and_one_that_is_there(study: Study, tmp_path: Path) -> None:
    def call(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["report", *words])
        return done.exit_code, done.output

    assert call()[0] == 2
    assert call(str(study.file), "--experiment", "small")[0] == 2
    code, text = call("--experiment", "nothing", "--uri", study.tracking_uri)
    assert code == 2
    assert "no run of 'nothing'" in text
    code, text = call(
        "--experiment", "small", "--uri", study.tracking_uri, "--format", "md", "--out", str(tmp_path / "out")
    )
    assert code == 0, text
    assert (
        "planned runs that have not ended are not known there" in (tmp_path / "out" / "report.md").read_text()
    )
