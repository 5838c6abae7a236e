"""Machine translations beside the test files: texts without labels or answers, read by every method that may."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench


def translated(bench: Workbench, folder: Path) -> Workbench:
    """The bench over a copy of its corpus with a translation of `qal`'s test split in columns of text."""
    shutil.copytree(bench.subject.data, folder)
    rows = bench.task.read(bench.subject.data, "eng", "test").table.to_pylist()
    columns = bench.task.text_columns
    place = folder / "qal" if bench.task.name == "nusax" else folder
    name = "test.english.csv" if bench.task.name == "nusax" else "qal.test.english.tsv"
    with (place / name).open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="," if name.endswith("csv") else "\t")
        writer.writerows([columns, *([row[column] for column in columns] for row in rows)])
    return Workbench(replace(bench.subject, data=str(folder)), bench.group)


@pytest.mark.parametrize(
    ("family", "task", "names"),
    [
        ("llama", "tydiqa", ["flare", "input_fusion"]),
        ("xlm_roberta", "xnli", ["translate_test", "flare"]),
        pytest.param("llama", "nusax", ["translate_test", "x_mixup"], marks=pytest.mark.slow),
        pytest.param("llama", "tydiqa", ["x_mixup"], marks=pytest.mark.slow),
        pytest.param("mt5", "tydiqa", ["flare", "x_mixup", "input_fusion"], marks=pytest.mark.slow),
    ],
)
def test_a_translation_that_says_the_same_gives_the_same(
    based_bench: Callable[[str, str], Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    family: str,
    task: str,
    names: list[str],
) -> None:
    bench = based_bench(family, task)
    other = translated(bench, tmp_path / "data")
    for name in names:
        found = []
        for one, translation in ((bench, "gold"), (other, "files")):
            out = tmp_path / name / translation
            record = train_run(one, name, "qal", {**settings_of(name), "translation": translation}, 1, out)
            found.append((pq.read_table(out / "predictions.parquet"), record["metrics"]))
        for column in ("id", "gold", "prediction"):
            assert found[0][0][column].to_pylist() == found[1][0][column].to_pylist()
        assert found[0][1] == found[1][1]
