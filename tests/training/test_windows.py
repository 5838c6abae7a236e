"""A generating model that reads windows: every method trains on them and answers each row once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flare_ray.forms._reading import ReadingOptions
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]
LENGTH = 40
METHODS = ["zero_shot", "translate_test", "lora", "input_fusion", "x_mixup", "flare", "flare_mt"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reads_windows(
    method: str, open_bench: Open, settings_of: Settings, tmp_path: Path, own_cache: Path
) -> None:
    bench = open_bench("llama", "tydiqa")
    settings = settings_of(method, "llama", "tydiqa", max_length=LENGTH, windows=True)
    record = train_run(bench, method, bench.task.targets(bench.subject.data)[0], settings, 1, tmp_path)
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.num_rows == record["rows"]["test"]
    assert min(table["score"].to_pylist()) < 0, "log-likelihoods"
    target = bench.split(_method(method), settings, bench.task.targets(bench.subject.data)[0], "test").target
    assert len(target) > target.rows, "some context is read in windows"
    assert target.ceiling == 100
    assert "answer not in the prompt" not in record["data"]["test"]


def test_what_windows_read_shows_in_the_record_without_them(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench("llama", "tydiqa")
    language = bench.task.targets(bench.subject.data)[0]
    for windows in (
        False,
        True,
    ):  # of one pack: what trains nothing shares predictions of the same reading alone
        settings = settings_of("zero_shot", "llama", "tydiqa", max_length=LENGTH, windows=windows)
        record = train_run(bench, "zero_shot", language, settings, 1, tmp_path / str(windows))
        lost = record["data"]["test"].get("answer not in the prompt", 0)
        assert (lost > 0) is not windows
        ceilings = record.get("ceilings", {})
        assert ceilings.get("test", 100) == pytest.approx(100 * (1 - lost / record["rows"]["test"]))
        assert record["metrics"]["exact_match"] <= ceilings.get("test", 100)
        scores = pq.read_table(tmp_path / str(windows) / "predictions.parquet")["score"].to_pylist()
        assert any(scores) is windows


def test_settings_are_a_reading() -> None:
    assert ReadingOptions.of({"max_length": 8}) == ReadingOptions()
    assert ReadingOptions.of({"max_answer": 9, "windows": True}) == ReadingOptions(9, True)


def _method(name: str) -> Any:
    from flare_ray import registry

    return registry.load("methods", name)
