"""An adapter's card: the lines it gives load the very model that was trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from flare_ray.training.model_card import write_card
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

FACTS = {
    "fingerprint": "run1",
    "label": "tiny/nusax/qal/method/seed 1",
    "checkpoint": "org/tiny",
    "family": "xlm_roberta",
    "task": "nusax",
    "language": "qal",
    "axes": {"rank": 4},
    "seed": 1,
    "base": "base1",
}


CASES = [
    *(
        ("xlm_roberta", "nusax", method)
        for method in ("lora", "flare", "flare_mt", "x_mixup", "input_fusion")
    ),
    *(("xlm_roberta", task, "flare") for task in ("xnli", "tydiqa")),
    *(("llama", "nusax", method) for method in ("flare", "x_mixup", "input_fusion")),
    ("mt5", "nusax", "flare"),
]


@pytest.mark.parametrize(("family", "task", "method"), CASES)
def test_the_lines_of_a_card_load_the_adapter_and_give_its_predictions(
    family: str,
    task: str,
    method: str,
    base_of: Callable[[str, str], Path],
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    small_sandbox: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings_of(method, family, task, max_steps=2, limit=8, max_length=128)
    bench = open_bench(family, task, limit=8)
    record = train_run(bench, method, "qal", settings, 1, tmp_path)
    facts = FACTS | {"family": family, "task": task, "method": method, "settings": settings}
    write_card(tmp_path, facts | record)
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert "[More Information Needed]" not in text
    assert not any(str(folder) in text for folder in (tmp_path, base_of(family, task), small_sandbox))
    metric = bench.task.metric
    assert f"| {metric} | {record['metrics'][metric]:.2f} |" in text
    for file in (tmp_path / "adapter").glob("*.json"):
        assert "/tmp" not in file.read_text(), file

    (tmp_path / "STORE" / "bases").mkdir(parents=True)
    (tmp_path / "STORE" / "bases" / "base1").symlink_to(base_of(family, task))
    (tmp_path / "TRANSLATOR").symlink_to(small_sandbox / "models" / "sandbox-nllb")
    monkeypatch.chdir(tmp_path)
    row, code = first_row(bench, text)
    capsys.readouterr()
    found: dict[str, Any] = {}
    exec(code, found)
    adapted = found["model"].model if method == "x_mixup" else found["model"]
    loaded = get_peft_model_state_dict(adapted)
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())
    kept = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    prediction = next(one for one in kept if one["id"] == row)
    printed = capsys.readouterr().out.strip()
    if "logits" in found:
        assert found["logits"][0].tolist() == pytest.approx(prediction["logits"], abs=1e-4)
        assert printed == prediction["prediction"]
    elif task == "nusax":
        assert bench.task.parse(printed) == prediction["prediction"]


def first_row(bench: Workbench, card: str) -> tuple[str, str]:
    """The id of the first test row, and a card's lines with its texts in the place of the examples."""
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code
    lines = code[1]
    data, row = bench.subject.data, None
    for language, name in (("qal", "qal"), ("eng", "English")):
        table = bench.task.read(data, language, "test", limit=8, parallel_to="qal").table
        row = row or table["id"][0].as_py()
        (texts,) = (one for one in table.to_pylist() if one["id"] == row)
        for column in bench.task.text_columns:
            escaped = json.dumps(texts[column], ensure_ascii=False)[1:-1]
            lines = lines.replace(f"{column} in {name}", escaped)
    return str(row), lines


def test_labels_travel_with_base_model_card_and_record(
    base_of: Callable[[str, str], Path],
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    labels = ["negative", "neutral", "positive"]
    config = json.loads((base_of("xlm_roberta", "nusax") / "config.json").read_text())
    assert config["id2label"] == {str(place): label for place, label in enumerate(labels)}
    assert config["label2id"] == {label: place for place, label in enumerate(labels)}
    settings = settings_of("lora", max_steps=1, limit=8)
    record = train_run(open_bench(limit=8), "lora", "qal", settings, 1, tmp_path)
    assert record["labels"] == labels
    write_card(tmp_path, FACTS | {"method": "lora", "settings": settings} | record)
    assert "| labels, by class number | negative, neutral, positive |" in (
        tmp_path / "adapter" / "README.md"
    ).read_text(encoding="utf-8")
    adapter = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "base1"


def test_a_run_without_an_adapter_has_no_card(tmp_path: Path) -> None:
    write_card(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
