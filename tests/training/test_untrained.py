"""What trains nothing: one pass of the base model for all runs that read the same rows."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from flare_ray.training import stages
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]
COLUMNS = {
    "xlm_roberta nusax": ["id", "gold", "prediction", "score", "logits"],
    "xlm_roberta tydiqa": ["id", "gold", "prediction", "score", "start"],
    "llama nusax": ["id", "gold", "prediction", "score", "generated"],
}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Languages of the passes made over a split."""
    made: list[str] = []
    predict = stages.predict

    def counted(model: Any, feeder: Any) -> Any:
        made.append(feeder.split.target.table.num_rows)
        return predict(model, feeder)

    monkeypatch.setattr(stages, "predict", counted)
    return made


@pytest.mark.parametrize("method", ["zero_shot", "translate_test"])
def test_nothing_is_trained(
    method: str,
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stages, "fit", None)
    record = train_run(open_bench(), method, "qal", settings_of(method), 1, tmp_path)
    assert record["history"] == []
    assert (record["chosen_step"], record["cost"]["trainable_parameters"]) == (0, 0)
    assert set(record["rows"]) == {"test"}
    assert "step_ms" not in record["cost"]
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.parquet"]


def test_translate_tests_of_two_languages_share_one_pass(
    open_bench: Open, settings_of: Settings, tmp_path: Path, passes: list[str]
) -> None:
    bench, settings = open_bench(), settings_of("translate_test")
    for language in ("qal", "qtu"):
        train_run(bench, "translate_test", language, settings, 1, tmp_path / language)
    assert len(passes) == 1
    tables = {name: pq.read_table(tmp_path / name / "predictions.parquet") for name in ("qal", "qtu")}
    for language, table in tables.items():
        rows = bench.features(language, "test", settings["max_length"]).table
        assert table["id"].equals(rows["id"]), "each in its own order"
        alone = tmp_path / f"{language} alone"
        train_run(open_bench(), "translate_test", language, settings, 1, alone)
        assert pq.read_table(alone / "predictions.parquet")["prediction"].equals(table["prediction"])
    by_id = [
        dict(zip(*(t[c].to_pylist() for c in ("id", "prediction")), strict=True)) for t in tables.values()
    ]
    assert by_id[0] == by_id[1]


def test_zero_shots_read_their_own_language_once(
    open_bench: Open, settings_of: Settings, tmp_path: Path, passes: list[str]
) -> None:
    bench = open_bench()
    found = []
    for k, language in enumerate(["qal", "qtu", "qal"]):
        train_run(bench, "zero_shot", language, settings_of("zero_shot"), k, tmp_path / str(k))
        found.append(pq.read_table(tmp_path / str(k) / "predictions.parquet"))
    assert len(passes) == 2
    assert found[0].equals(found[2])
    assert not found[0]["logits"].equals(found[1]["logits"])


def test_zero_shot_and_translate_test_do_not_mix(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench()
    tables = []
    for method in ("zero_shot", "translate_test"):
        train_run(bench, method, "qal", settings_of(method), 1, tmp_path / method)
        tables.append(pq.read_table(tmp_path / method / "predictions.parquet"))
    assert tables[0]["id"].equals(tables[1]["id"])
    assert not tables[0]["logits"].equals(tables[1]["logits"])


@pytest.mark.parametrize("subject", COLUMNS)
def test_predictions_say_what_was_right_and_what_was_found(
    subject: str, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    family, task = subject.split()
    bench, settings = open_bench(family, task), settings_of("zero_shot", family, task)
    record = train_run(bench, "zero_shot", "qal", settings, 1, tmp_path)
    table = pq.read_table(tmp_path / "predictions.parquet")
    rows = bench.features("qal", "test", settings["max_length"]).table
    assert table.column_names == COLUMNS[subject]
    assert table["id"].to_pylist() == rows["id"].to_pylist()
    gold = table["gold"].to_pylist()
    assert [tuple(one) for one in gold] == bench.task.gold(rows)
    assert record["metrics"] == bench.task.score(gold, table["prediction"].to_pylist())


@pytest.mark.parametrize("family", ["xlm_roberta", "llama"])
def test_the_order_of_test_rows_changes_nothing(
    family: str, small_sandbox: Path, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    data = shutil.copytree(small_sandbox / "data" / "nusax", tmp_path / "nusax")
    file = data / "qal" / "test.csv"
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head, *reversed(rows)]) + "\n")
    found = []
    for name, folder in [("given", None), ("reversed", data)]:
        bench = open_bench(family, data=folder)
        record = train_run(bench, "zero_shot", "qal", settings_of("zero_shot", family), 1, tmp_path / name)
        rows = pq.read_table(tmp_path / name / "predictions.parquet").to_pylist()
        found.append((record["metrics"], {row["id"]: row for row in rows}))
    assert found[0][0] == pytest.approx(found[1][0])
    for row, one in found[0][1].items():
        other = found[1][1][row]
        assert one["prediction"] == other["prediction"]
        assert one.get("generated") == other.get("generated")
        if "logits" in one:
            torch.testing.assert_close(
                torch.tensor(one["logits"]), torch.tensor(other["logits"]), atol=1e-4, rtol=0
            )
