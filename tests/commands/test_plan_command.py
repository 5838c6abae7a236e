"""Laws of what `flare-ray plan` expects: hours, money, disk and wall time of what is left, and only of that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_study, write_sweep
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.commands import estimate
from flare_ray.commands.estimate import Estimate, least
from flare_ray.plan.disk import Disk
from flare_ray.study import Study

Made = Callable[..., Path]
SHAPE = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def sweep_file(tmp_path: Path) -> Made:
    """A sweep over a checkpoint whose sizes are known, translated by NLLB on the hub; fields replaced."""
    fields = write_study(tmp_path)
    config = {"model_type": "xlm-roberta", "vocab_size": 120, **SHAPE}
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config))

    def made(**changes: Any) -> Path:
        mine = {**fields, "translation": "nllb-200-distilled-600m", **changes}
        return write_sweep(tmp_path / "sweep.yaml", mine)

    return made


def plan(file: Path, *words: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["plan", str(file), "--json", *map(str, words)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def finish(study: Study) -> list[Any]:
    """Records of everything that the sweep has translated, and of its first base model and run."""
    works = [("corpora", one) for one in study.grid.corpora]
    works += [("bases", study.grid.bases[0]), ("runs", study.grid.runs[0])]
    for kind, work in works:
        facts = {"task": getattr(work, "task", ""), "split": getattr(work, "split", ""), "rows": 6}
        cost = {"stage_seconds": 60.0, "wall_seconds": 60.0}
        study.store.write(kind, work.fingerprint, facts | {"cost": cost, "provenance": {}})
    return [work for _, work in works]


def test_the_whole_is_the_sum_of_what_is_left(sweep_file: Made) -> None:
    found = plan(sweep_file())
    every = [*found["runs"], *found["bases"], *found["translations"]]
    assert found["cost"]["unknown"] == 0
    assert found["cost"]["cpu_hours"] == pytest.approx(sum(one["seconds"] for one in every) / 3600)
    assert all("operations" in basis for basis in found["cost"]["taken_from"])


def test_what_is_finished_costs_nothing_more(sweep_file: Made) -> None:
    file = sweep_file(methods=["lora"])
    before = plan(file)
    finished = finish(Study.open(file, to_execute=False))
    after = plan(file)
    assert before["disk"]["corpora"] > after["disk"]["corpora"] == 0.0
    assert len(after["translations"]) == 0 < len(before["translations"])
    assert len(after["bases"]) == len(before["bases"]) - 1
    left = [run for run in after["runs"] if not run["done"]]
    assert len(left) == len(before["runs"]) - 1
    assert {run["seconds"] for run in left} == {60.0}, "measured by the one that is done"
    assert after["cost"]["cpu_hours"] == pytest.approx(
        sum(one["seconds"] for one in [*left, *after["bases"]]) / 3600
    )
    assert len(finished) == len(before["translations"]) + 2


def test_disk_is_measured_by_what_a_finished_run_takes(sweep_file: Made, tmp_path: Path) -> None:
    file = sweep_file(methods=["lora"], rank=[4])
    study = Study.open(file, to_execute=False)
    (tmp_path / "files" / "adapter").mkdir(parents=True)
    (tmp_path / "files" / "adapter" / "weights").write_bytes(bytes(12_345))
    done = study.grid.runs[0].fingerprint
    study.store.write("runs", done, {}, tmp_path / "files")
    folder = Path(study.store.folder("runs", done))
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    assert plan(file)["disk"]["runs"] == size * (len(study.grid.runs) - 1)


def test_money_is_hours_times_price(sweep_file: Made) -> None:
    gpus = {"gpus_per_worker": 1, "price_per_hour": 2.5}
    found = plan(sweep_file(resources=gpus))
    assert found["cost"]["money"] == pytest.approx(2.5 * found["cost"]["gpu_hours"])
    assert plan(sweep_file())["cost"]["money"] is None
    on_cpus = plan(sweep_file(resources=gpus | {"gpus_per_translator": 0}))
    of_translations = sum(one["seconds"] for one in found["translations"]) / 3600
    difference = found["cost"]["gpu_hours"] - on_cpus["cost"]["gpu_hours"]
    assert difference == pytest.approx(of_translations), "CPUs are no GPU-hours"


def test_wall_time_is_between_its_bound_and_one_place(sweep_file: Made) -> None:
    file = sweep_file()
    study = Study.open(file, to_execute=False)
    stages, costs = study.stages(), study.costs()
    walls = {places: plan(file, "--places", places)["wall"] for places in (1, 2, 64)}
    assert all(wall["simulated"] and wall["places"] == places for places, wall in walls.items())
    for places, wall in walls.items():
        assert wall["seconds"] >= least(stages, costs.expected, places)
    assert walls[1]["seconds"] > walls[2]["seconds"] > walls[64]["seconds"]
    whole = sum(map(costs.expected, Estimate(stages, costs, Disk([], lambda *_: None)).works))
    assert least(stages, costs.expected, 1) == pytest.approx(whole)


def test_the_bound_of_many_places_is_the_longest_chain(sweep_file: Made) -> None:
    study = Study.open(sweep_file(), to_execute=False)
    stages = study.stages()
    seconds = {"Run": 7.0, "Base": 100.0, "Corpus": 30.0}
    assert least(stages, lambda work: seconds[type(work).__name__], 10_000) == 107.0


def test_places_are_those_of_the_sweep_unless_given(sweep_file: Made) -> None:
    assert plan(sweep_file())["wall"] is None
    file = sweep_file(resources={"max_concurrent": 3})
    assert plan(file)["wall"]["places"] == 3
    assert plan(file, "--places", 5)["wall"]["places"] == 5
    assert CliRunner().invoke(app, ["plan", str(file), "--places", "0"]).exit_code == 2


def test_more_runs_than_can_be_simulated_are_bounded(
    sweep_file: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_SIMULATED", 3)
    wall = plan(sweep_file(), "--places", 4)["wall"]
    assert not wall["simulated"]


def test_it_is_all_told_to_people_too(sweep_file: Made) -> None:
    file = sweep_file(resources={"price_per_hour": 3.0})
    done = CliRunner().invoke(app, ["plan", str(file), "--places", "8"])
    for words in ("nllb-200-distilled-600m", "6 splits", "at 3 per CPU-hour", "8 worker groups", "to fill"):
        assert words in done.stdout
    assert "base models" in done.stdout.split("disk:")[1]
    assert "unknown" not in done.stdout


def test_work_behind_a_link_is_not_called_done_without_a_word(sweep_file: Made, tmp_path: Path) -> None:
    """`run` refuses it: what lies there is not checked, and nothing can be renamed to it."""
    file = sweep_file()
    finish(Study.open(file, to_execute=False))
    storage = Path(Study.open(file, to_execute=False).store.root)
    assert plan(file)["warnings"] == []
    (storage / "runs").rename(tmp_path / "big")
    (storage / "runs").symlink_to(tmp_path / "big")
    for warning in (
        *plan(file)["warnings"],
        next(
            line
            for line in CliRunner().invoke(app, ["plan", str(file)]).output.splitlines()
            if "warn" in line
        ),
    ):
        assert f"{storage / 'runs'}, which is a symbolic link to {tmp_path / 'big'}" in warning
    for command in ("run", "doctor"):
        done = CliRunner().invoke(app, [command, str(file)])
        assert done.exit_code == 2
        assert "symbolic link" in done.output
    translate = ["translate", "--task", "nusax", "--data", str(tmp_path / "data"), "--to", "ace"]
    done = CliRunner().invoke(
        app, [*translate, "--model", "nllb-200-distilled-600m", "--storage", str(storage)]
    )
    assert (done.exit_code, "symbolic link" in done.output) == (2, True)
