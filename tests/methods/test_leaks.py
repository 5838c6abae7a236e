"""What a test row's gold says never reaches its prediction, and the English that is read at test does."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from flare_ray import registry
from flare_ray.training.feeder import Feeder
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench


def other_gold(folder: Path, task: str) -> None:
    """Changes the gold of the test files of `qal` and English in a copied corpus; texts stay."""
    for name in ("qal", "english"):
        if task == "tydiqa":
            file = folder / f"{name}.test.json"
            content = json.loads(file.read_text())
            for part in content["data"]:
                for paragraph in part["paragraphs"]:
                    for question in paragraph["qas"]:
                        text = paragraph["context"]
                        question["answers"] = [{"text": text[:-1], "answer_start": 0}]
            file.write_text(json.dumps(content))
        else:
            file = folder / name / "test.csv"
            with file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            turned = {"positive": "negative", "negative": "neutral", "neutral": "positive"}
            with file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, rows[0])
                writer.writeheader()
                writer.writerows({**row, "label": turned[row["label"]]} for row in rows)


@pytest.mark.parametrize(
    ("family", "task", "names"),
    [
        ("llama", "tydiqa", ["input_fusion", "flare"]),
        ("mt5", "tydiqa", ["flare", "input_fusion"]),
        ("llama", "nusax", ["x_mixup", "translate_test"]),
        pytest.param(
            "llama", "tydiqa", ["x_mixup", "flare_mt", "lora", "translate_test"], marks=pytest.mark.slow
        ),
        pytest.param("xlm_roberta", "nusax", ["x_mixup", "flare", "input_fusion"], marks=pytest.mark.slow),
        pytest.param("xlm_roberta", "tydiqa", ["x_mixup", "flare", "flare_mt"], marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("length", [48])
def test_other_gold_answers_leave_predictions_as_they_are(
    based_bench: Callable[[str, str], Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    family: str,
    task: str,
    names: list[str],
    length: int,
) -> None:
    bench = based_bench(family, task)
    shutil.copytree(bench.subject.data, tmp_path / "data")
    other_gold(tmp_path / "data", task)
    changed = Workbench(replace(bench.subject, data=str(tmp_path / "data")), bench.group)
    for name in names:
        tables = []
        for one, place in ((bench, "a"), (changed, "b")):
            settings = {**settings_of(name), "max_length": length}
            train_run(one, name, "qal", settings, 1, tmp_path / name / place)
            tables.append(pq.read_table(tmp_path / name / place / "predictions.parquet"))
        assert tables[0]["gold"].to_pylist() != tables[1]["gold"].to_pylist()
        said = "generated" if "generated" in tables[0].column_names else "prediction"
        assert tables[0][said].to_pylist() == tables[1][said].to_pylist()
        if "logits" in tables[0].column_names:
            first, second = (np.array(table["logits"].to_pylist()) for table in tables)
            np.testing.assert_allclose(first, second, atol=1e-4)


def test_source_states_are_those_of_the_rows_own_english(
    based_bench: Callable[[str, str], Workbench], settings_of: Callable[..., dict[str, Any]]
) -> None:
    """What the feeder hands over equals what the model makes of the English text itself."""
    bench = based_bench("xlm_roberta", "xnli")
    method, settings = registry.load("methods", "flare"), settings_of("flare")
    model = method.build(bench.model(), settings, bench.posed).eval()
    split = bench.split(method, settings, "qal", "test")
    feeder = Feeder(bench, method, settings, split, "qal", "test", method.encode_source(model))
    chosen = [3, 0, 7]
    inputs = feeder.inputs(chosen)
    english = bench.task.read(bench.subject.data, "eng", "test").table
    ids = split.target.strings("id", chosen)
    rows = {row["id"]: row for row in english.to_pylist()}
    texts = [[rows[one][column] for one in ids] for column in bench.task.text_columns]
    direct = bench.tokenizer(*texts, padding=True, return_tensors="pt")
    stated = {name: value for name, value in inputs.items() if name.startswith("source_")}
    assert stated["source_attention_mask"].tolist() == direct["attention_mask"].tolist()
    target = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wanted = model(
            **target,
            source_input_ids=direct["input_ids"],
            source_attention_mask=direct["attention_mask"],
        ).logits
        torch.testing.assert_close(model(**inputs).logits, wanted, atol=1e-4, rtol=1e-4)


def test_train_only_reads_no_english_at_test(
    based_bench: Callable[[str, str], Workbench], settings_of: Callable[..., dict[str, Any]]
) -> None:
    bench = based_bench("xlm_roberta", "xnli")
    method, settings = registry.load("methods", "flare"), settings_of("flare", train_only=True)
    assert bench.split(method, settings, "qal", "train").source is not None
    split = bench.split(method, settings, "qal", "test")
    assert split.source is None
    model = method.build(bench.model(), settings, bench.posed).eval()
    feeder = Feeder(bench, method, settings, split, "qal", "test", method.encode_source(model))
    inputs = feeder.inputs([0, 1])
    assert inputs.pop("without_source") is True
    assert set(inputs) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("family", "task", "block", "weights"),
    [
        ("xlm_roberta", "xnli", 0, (0.4, 1.0, 1.0, 1000.0)),
        ("mt5", "tydiqa", None, (0.2, 1.0, 0.0, 2000.0)),
        ("llama", "nusax", 0, (0.4, 1.0, 1.0, 1000.0)),
        ("llama", "tydiqa", None, (0.2, 1.0, 0.0, 2000.0)),
    ],
)
def test_x_mixup_has_the_block_and_the_weights_of_its_task(
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    family: str,
    task: str,
    block: int | None,
    weights: tuple[float, ...],
) -> None:
    bench, method = open_bench(family, task), registry.load("methods", "x_mixup")
    model = method.build(bench.model(), settings_of("x_mixup"), bench.posed)
    config = model.mixup_config
    assert (config.alpha, config.mse_weight, config.kl_weight, config.sampling_k) == weights
    depth = bench.load_base().config.num_hidden_layers
    assert model.place.number == (block if block is not None else min(depth - 1, round(depth * 15 / 24)))
    other = method.build(bench.model(), settings_of("x_mixup", block=depth - 1, loss_alpha=0.7), bench.posed)
    assert other.place.number == depth - 1
    assert other.mixup_config.alpha == 0.7
