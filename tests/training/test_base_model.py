"""The base model: merged it is the model that was trained, and it can be loaded in 4 bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from flare_ray.training import stages
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("family", "task"),
    [("xlm_roberta", "nusax"), ("xlm_roberta", "tydiqa"), ("mt5", "nusax"), ("llama", "nusax")],
)
def test_the_merged_model_is_the_trained_one(
    family: str,
    task: str,
    open_raw: Open,
    settings_of: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the English test split, by logits and by predictions; with a learning rate that leaves a mark."""
    found: dict[str, Any] = {}
    predict = stages.predict

    def kept(model: Any, feeder: Any) -> Any:
        found["predictions"] = predict(model, feeder)
        found["logits"] = _logits(model, feeder)
        return found["predictions"]

    monkeypatch.setattr(stages, "predict", kept)
    settings = settings_of("lora", family, task, learning_rate=3e-3)
    bench = open_raw(family, task)
    record = train_base(bench, settings, 1, tmp_path / "base")
    trained = dict(found)
    merged = open_raw(family, task, checkpoint=tmp_path / "base")
    zero_shot = settings_of("zero_shot", family, task)
    tested = train_run(merged, "zero_shot", "eng", zero_shot, 2, tmp_path / "zero_shot")
    torch.testing.assert_close(found["logits"], trained["logits"], atol=2e-4, rtol=1e-4)
    assert [one["prediction"] for one in found["predictions"]] == [
        one["prediction"] for one in trained["predictions"]
    ]
    assert tested["metrics"] == pytest.approx(record["metrics"])
    torch.manual_seed(1)
    moved = torch.cat([(a - b).flatten() for a, b in _both(bench.load_base(), merged.load_base())])
    assert moved.abs().max() > 1e-4, "the merge carries the training"


def _logits(model: Any, feeder: Any) -> torch.Tensor:
    inputs = feeder.inputs([0, 3, 1])
    model.eval()
    with torch.inference_mode():
        out = model(**inputs)
    logits = out.start_logits if "start_logits" in out else out.logits
    return (
        logits[inputs["attention_mask"].bool()] if logits.shape[:2] == inputs["input_ids"].shape else logits
    )


def _both(one: Any, other: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    others = dict(other.named_parameters())
    return [(p.detach(), others[name].detach()) for name, p in one.named_parameters() if p.dim() == 2]


def test_where_there_is_no_english_test_split_there_are_no_metrics(
    small_sandbox: Path, open_raw: Open, settings_of: Settings, tmp_path: Path
) -> None:
    data = shutil.copytree(small_sandbox / "data" / "nusax", tmp_path / "nusax")
    (data / "english" / "test.csv").unlink()
    record = train_base(open_raw(data=data), settings_of(), 1, tmp_path / "base")
    assert record["metrics"] == {}
    assert "test" not in record["rows"]
    assert (tmp_path / "base" / "model.safetensors").exists()


def test_quantised_weights_train_after_an_evaluation(
    open_raw: Open, settings_of: Settings, tmp_path: Path
) -> None:
    """NF4 from the base's training to the runs: trained on 4 bit, merged in 16, loaded in 4 bit again.

    An evaluation runs in inference mode: nothing it leaves in the shared weights may stop a later backward pass.
    """
    pytest.importorskip("bitsandbytes")
    base = tmp_path / "base"
    record = train_base(open_raw("llama", quantization="nf4"), settings_of("lora", "llama"), 1, base)
    assert record["metrics"]
    weights = load_file(base / "model.safetensors")
    assert all(p.is_floating_point() for p in weights.values()), "the merged model is not quantised"
    bench = open_raw("llama", checkpoint=base, quantization="nf4")
    train_run(bench, "zero_shot", "qal", settings_of("zero_shot", "llama"), 1, tmp_path / "zero_shot")
    for method in ("lora", "flare", "lora"):
        settings = settings_of(method, "llama", epochs=3, learning_rate=5e-3)
        out = tmp_path / method
        record = train_run(bench, method, "qal", settings, 1, out)
        losses = [entry["train_loss"] for entry in record["history"]]
        assert losses[-1] < losses[0], (method, losses)
        adapter = load_file(out / "adapter" / "adapter_model.safetensors")
        moved = {name: float(p.abs().max()) for name, p in adapter.items() if "lora_B" in name}
        assert moved, adapter.keys()
        assert min(moved.values()) > 0, moved
        assert pq.read_table(out / "predictions.parquet").num_rows == 48
