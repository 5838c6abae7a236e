"""The main job from end to end: a sweep file, a real local Ray, Tune, Train, DeepSpeed, MLflow, the table."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import kills
from tests.kills import harassed

pytestmark = pytest.mark.timeout(1800)
Write = Callable[[dict[str, Any]], Path]
Fields = Callable[..., dict[str, Any]]


def sweep(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flare_ray.sweep", str(file), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)


def records(storage: str) -> dict[str, dict[str, Any]]:
    return {
        file.parent.name: json.loads(file.read_text()) for file in Path(storage).glob("runs/*/record.json")
    }


def outcome(record: dict[str, Any]) -> Any:
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    return record["metrics"], record["chosen_epoch"], curve


def mlflow_runs(storage: str, experiment: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], "tags.`flare_ray.kind` = 'run'", max_results=1000))


def test_a_sweep_runs_is_recorded_once_and_resumes(
    sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> None:
    fields = sweep_of()
    first = sweep(write_sweep(fields))
    assert first.returncode == 0, first.stdout + first.stderr
    kept = records(fields["storage"])
    assert len(kept) == 2 * 3, "two languages, three methods, one seed"
    assert "flare (add_relu, r=4)" in first.stdout

    runs = mlflow_runs(fields["storage"], "small/nusax")
    assert sorted(run.data.tags["flare_ray.fingerprint"] for run in runs) == sorted(kept)
    for run in runs:
        assert run.info.status == "FINISHED"
        record = kept[run.data.tags["flare_ray.fingerprint"]]
        assert run.data.metrics["test_macro_f1"] == pytest.approx(record["metrics"]["macro_f1"])
        assert {
            "sweep",
            "cell",
            "method",
            "language",
            "seed",
            "git_commit",
            "version.torch",
        } <= run.data.tags.keys()
        assert run.data.params["language"] == record["language"]

    again = sweep(write_sweep(fields))
    assert again.returncode == 0
    assert "starting Ray" not in again.stdout, "nothing is left to train"
    assert len(mlflow_runs(fields["storage"], "small/nusax")) == len(kept)
    assert {k: v["ended"] for k, v in records(fields["storage"]).items()} == {
        k: v["ended"] for k, v in kept.items()
    }

    # Other packs, in another store that has the base model already: the same runs with the same results.
    other = str(tmp_path / "other")
    shutil.copytree(f"{fields['storage']}/bases", f"{other}/bases")
    resources = {"pack_size": 3}
    assert sweep(write_sweep(sweep_of(storage=other, resources=resources))).returncode == 0
    repacked = records(other)
    assert repacked.keys() == kept.keys()
    assert {k: outcome(v) for k, v in repacked.items()} == {k: outcome(v) for k, v in kept.items()}


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_and_nothing_is_trained_twice(
    sweep_of: Fields, write_sweep: Write
) -> None:
    fields = sweep_of(seeds=[1, 2])
    file = write_sweep(fields)
    driver = subprocess.Popen(
        [sys.executable, "-m", "flare_ray.sweep", str(file)],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not records(fields["storage"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = records(fields["storage"])
    assert before, "something was finished before the driver was killed"
    done = sweep(file)
    assert done.returncode == 0, done.stdout + done.stderr
    after = records(fields["storage"])
    assert len(after) == 12
    assert all(after[fingerprint] == record for fingerprint, record in before.items())
    runs = mlflow_runs(fields["storage"], "small/nusax")
    assert sorted(run.data.tags["flare_ray.fingerprint"] for run in runs) == sorted(after)


@pytest.mark.slow
def test_a_run_that_fails_stops_no_other(
    sweep_of: Fields, write_sweep: Write, small_sandbox: Path, tmp_path: Path
) -> None:
    """A language whose validation labels turn out unreadable only when its run starts."""
    data = tmp_path / "nusax"
    for language in ("english", "qal", "qtu"):
        (data / language).mkdir(parents=True)
        for file in (small_sandbox / "data" / "nusax" / language).iterdir():
            (data / language / file.name).write_bytes(file.read_bytes())
    fields = sweep_of(data={"nusax": str(data)}, methods=["zero_shot", "lora"])
    code = (
        "from pathlib import Path; from rich.console import Console\n"
        "from flare_ray.running import execute; from flare_ray.study import Study\n"
        f"study = Study.open(Path({str(write_sweep(fields))!r})); study.grid\n"
        f"Path({str(data / 'qal' / 'test.csv')!r}).write_text('id,text\\n')\n"
        "outcome = execute(study, Console()); print('FAILED', sorted(run.label for run in outcome.failed))\n"
        "print('ERROR', study.store.failure(outcome.failed[0].fingerprint)['error'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    failed = ["tiny/nusax/qal/lora (r=4)/seed 1", "tiny/nusax/qal/zero_shot/seed 1"]
    assert f"FAILED {failed}" in done.stdout
    assert "wanted also label" in done.stdout
    assert {record["language"] for record in records(fields["storage"]).values()} == {"qtu"}


@pytest.mark.slow
def test_a_search_shares_its_runs_with_the_grid_and_its_choice_is_run_with_all_seeds(
    sweep_of: Fields, write_sweep: Write
) -> None:
    space = {"fusion": ["add_relu", "mul"], "rank": [4, 8]}
    search = {"method": "flare", "space": space, "configurations": 2, "halving": 2, "baseline": True}
    fields = sweep_of(languages=["qal"], methods=["flare"], seeds=[1, 2], searches=[search])
    first = sweep(write_sweep(fields))
    assert first.returncode == 0, first.stdout + first.stderr
    kept = records(fields["storage"])
    [tpe, chance] = [
        json.loads(file.read_text()) for file in Path(fields["storage"]).glob("searches/*/*.selected.json")
    ]
    for answer in (tpe, chance):
        assert {"fusion": "add_relu", "rank": 4} in [one["config"] for one in answer["tried"]], "the grid's"
        assert answer["configurations"] == 3
        chosen = [
            record
            for record in kept.values()
            if {axis: record["axes"][axis] for axis in space} == answer["selected"]
        ]
        assert {record["seed"] for record in chosen} == {1, 2}
        found = sum(record["validation"]["validation_macro_f1"] for record in chosen) / 2
        assert answer["validation"] == pytest.approx(found)
        chosen_text = ", ".join(f"{axis}={value}" for axis, value in answer["selected"].items())
        assert f"{chosen_text} ({answer['sampler']}: best of 3 on validation)" in first.stdout
    assert len(mlflow_runs(fields["storage"], "small/nusax")) == len(kept)

    again = sweep(write_sweep(fields))
    assert again.returncode == 0
    assert "starting Ray" not in again.stdout, "the search is done"
    assert records(fields["storage"]).keys() == kept.keys()


@pytest.mark.slow
def test_whatever_is_killed_the_records_are_those_of_a_quiet_sweep(
    sweep_of: Fields, write_sweep: Write, tmp_path: Path
) -> None:
    file = write_sweep(sweep_of(seeds=[1, 2, 3]))
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    harassed([str(file)], calm, tmp_path / "calm.log", 0, random.Random(0), (1e9, 1e9))
    _, killed = harassed([str(file)], rough, tmp_path / "rough.log", 4, random.Random(1), (8, 14))
    assert len(killed) == 4, "the sweep was over before everything had been killed"
    ours, theirs = kills.records(rough), kills.records(calm)
    assert {k: kills.outcome(v) for k, v in ours.items()} == {k: kills.outcome(v) for k, v in theirs.items()}
    runs = mlflow_runs(str(rough), "small/nusax")
    assert sorted(run.data.tags["flare_ray.fingerprint"] for run in runs) == sorted(ours)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_two_workers_give_what_one_gives(zero_stage: int, sweep_of: Fields, write_sweep: Write) -> None:
    """The same sweep on two workers under ZeRO: the same runs, losses equal within rounding."""
    one = sweep_of(methods=["lora"], languages=["qal"])
    two = {**one, "storage": one["storage"] + "-two", "resources": {"workers": 2, "zero_stage": zero_stage}}
    for fields in (one, two):
        done = sweep(write_sweep(fields))
        assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = records(one["storage"]), records(two["storage"])
    assert ours.keys() == theirs.keys()
    for fingerprint, record in ours.items():
        curves = [[entry["train_loss"] for entry in r["history"]] for r in (record, theirs[fingerprint])]
        # Dropout is drawn per worker, so losses are near, not equal.
        assert curves[0] == pytest.approx(curves[1], rel=0.1)
        assert theirs[fingerprint]["rows"] == record["rows"]


def test_the_sweeps_of_the_package_are_valid() -> None:
    for file in sorted((Path(__file__).parent.parent / "sweeps").glob("*.yaml")):
        fields = yaml.safe_load(file.read_text())
        assert file.read_text().startswith("#"), f"{file.name} says what it answers and what it costs"
        assert fields["name"] == file.stem
