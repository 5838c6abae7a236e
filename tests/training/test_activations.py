"""What a run measures of its bottlenecks: what its kept adapter does, and without a trace in its results."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel

from flare_ray import registry
from flare_ray.training import activations, stages
from flare_ray.training.activations import FILE, first_sequences, measure
from flare_ray.training.feeder import Feeder
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]
POSED = [("xlm_roberta", "nusax"), ("xlm_roberta", "tydiqa"), ("mt5", "nusax"), ("llama", "nusax")]


def rows_of(place: Path) -> list[dict[str, Any]]:
    return pq.read_table(place).to_pylist()


def fed(bench: Workbench, model: Any, settings: dict[str, Any], method: str = "flare") -> Feeder:
    row = registry.load("methods", method)
    split = bench.split(row, settings, "qtu", "test")
    return Feeder(bench, row, settings, split, "qtu", "test", row.encode_source(model))


@pytest.mark.parametrize("method", ["flare", "flare_mt"])
@pytest.mark.parametrize(("family", "task"), POSED)
def test_every_form_measures(
    method: str, family: str, task: str, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench(family, task)
    train_run(bench, method, "qtu", settings_of(method, family, task), 1, tmp_path)
    rows = rows_of(tmp_path / FILE)
    layers = [row for row in rows if row["position"] is None]
    modules = {row["module"] for row in layers}
    assert len(layers) == 3 * len(modules)
    assert all(row["mean"] > 0 and row["std"] > 0 and row["tokens"] > 0 for row in layers)
    assert {row["layer"] for row in rows if row["position"] is not None} == {0}
    ids = {row["row"] for row in rows} - {None}
    assert len(ids) == activations.INSTANCES
    assert (tmp_path / FILE).stat().st_size < 64e3


@pytest.mark.parametrize("method", ["lora", "zero_shot", "x_mixup", "input_fusion"])
def test_what_does_not_fuse_has_none(
    method: str, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    train_run(open_bench(), method, "qtu", settings_of(method), 1, tmp_path)
    assert not (tmp_path / FILE).exists()


def test_no_result_changes(
    open_bench: Open, settings_of: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions and adapters of two runs of a pack, to the bit, and the random state after them."""

    def pack(name: str) -> torch.Tensor:
        bench = open_bench()
        for seed in (1, 2):
            train_run(bench, "flare", "qtu", settings_of("flare"), seed, tmp_path / name / str(seed))
        return torch.random.get_rng_state()

    measured = pack("with")
    monkeypatch.setattr(stages, "measure", lambda *_: None)
    assert torch.equal(pack("without"), measured)
    names = ["predictions.parquet", "adapter/adapter_model.safetensors"]
    for seed in ("1", "2"):
        assert (tmp_path / "with" / seed / FILE).exists()
        assert not (tmp_path / "without" / seed / FILE).exists()
        for name in names:
            both = [(tmp_path / one / seed / name).read_bytes() for one in ("with", "without")]
            assert both[0] == both[1], name


def test_a_failure_is_told_and_costs_nothing(
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(feeder: Feeder) -> list[int]:
        raise RuntimeError("no room")

    monkeypatch.setattr(activations, "first_sequences", broken)
    with caplog.at_level(logging.WARNING):
        record = train_run(open_bench(), "flare", "qtu", settings_of("flare"), 1, tmp_path)
    assert record["metrics"]
    assert (tmp_path / "predictions.parquet").exists()
    assert not (tmp_path / FILE).exists()
    assert "could not be measured" in caplog.text
    assert "no room" in caplog.text


@pytest.mark.parametrize("place", ["layers", "positions", "instances"])
def test_the_numbers_are_the_kept_adapters(
    place: str, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    """Recomputed from the adapter's file by hooks on its layers, with none of the code that measures."""
    bench, settings = open_bench(), settings_of("flare")
    train_run(bench, "flare", "qtu", settings, 1, tmp_path)
    model = PeftModel.from_pretrained(bench.model(), str(tmp_path / "adapter")).eval()
    feeder = fed(bench, model, settings)
    chosen = list(range(activations.ROWS))
    inputs = feeder.inputs(chosen)
    rows = rows_of(tmp_path / FILE)
    for module in sorted({row["module"] for row in rows}):
        layer = int(module.split(".layer.")[1].split(".")[0])
        down = model.base_model.model.get_submodule(module).lora_A["default"]
        seen: list[torch.Tensor] = []
        hook = down.register_forward_hook(lambda _, args, out, seen=seen: seen.append(out))
        with torch.no_grad():
            model(**inputs)
            hook.remove()
            source = down(inputs["source_states"][:, layer]).abs()
        target = next(one for one in seen if one.shape[1] == inputs["input_ids"].shape[1]).abs()
        real, there = inputs["attention_mask"].bool(), inputs["source_attention_mask"].bool()
        for stream, size in (("target", target), ("source", source)):
            mask = real.clone() if stream == "target" else both(real, there)
            mine = [row for row in rows if row["module"] == module and row["stream"] == stream]
            if place == "layers":
                (found,) = [row for row in mine if row["position"] is None]
                values = size[:, : mask.shape[1]][mask]
                assert found["mean"] == pytest.approx(float(values.mean()), rel=1e-4)
                assert found["std"] == pytest.approx(float(values.std(correction=0)), rel=1e-4)
                assert found["tokens"] == int(mask.sum())
                continue
            if layer or not module.endswith("query"):
                assert all(row["position"] is None for row in mine)
                continue
            means = size.mean(-1)
            if place == "positions":
                for row in (row for row in mine if row["row"] is None and row["position"] is not None):
                    at = mask[:, row["position"]]
                    assert row["tokens"] == int(at.sum())
                    assert row["mean"] == pytest.approx(float(means[:, row["position"]][at].mean()), rel=1e-4)
            else:
                ids = feeder.split.target.table["id"].to_pylist()
                found = [row for row in mine if row["row"] is not None]
                assert len(found) == int(mask[: activations.INSTANCES].sum())
                for row in found:
                    wanted = means[ids.index(row["row"]), row["position"]]
                    assert row["mean"] == pytest.approx(float(wanted), rel=1e-4)


def both(real: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Columns where both have a token; padding is on the right."""
    width = min(real.shape[1], there.shape[1])
    return real[:, :width] & there[:, :width]


def test_a_source_of_zeros_has_no_activation(open_bench: Open, settings_of: Settings, tmp_path: Path) -> None:
    bench, settings = open_bench(), settings_of("flare")
    model = registry.load("methods", "flare").build(bench.model(), settings, bench.posed)
    feeder = fed(bench, model, settings)
    whole = feeder.inputs

    def without(*args: Any) -> dict[str, Any]:
        inputs = whole(*args)
        return inputs | {"source_states": torch.zeros_like(inputs["source_states"])}

    feeder.inputs = without  # type: ignore[method-assign]
    table = measure(model, model, feeder)
    assert table is not None
    by_stream = {
        stream: [row["mean"] for row in table.to_pylist() if row["stream"] == stream]
        for stream in ("source", "target")
    }
    assert set(by_stream["source"]) == {0.0}
    assert min(by_stream["target"]) > 0


def test_a_source_that_is_left_out_has_no_row(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of("flare", train_only=True)
    train_run(open_bench(), "flare", "qtu", settings, 1, tmp_path)
    assert {row["stream"] for row in rows_of(tmp_path / FILE)} == {"target", "fused"}


def test_of_a_row_in_windows_the_first_counts(open_bench: Open, settings_of: Settings) -> None:
    bench, settings = open_bench("xlm_roberta", "tydiqa"), settings_of("flare", task="tydiqa", max_length=48)
    model = registry.load("methods", "flare").build(bench.model(), settings, bench.posed)
    feeder = fed(bench, model, settings)
    row_of = feeder.split.target.row_of
    assert len(row_of) > feeder.split.target.rows, "some row has two windows"
    chosen = first_sequences(feeder)
    assert row_of[chosen].tolist() == list(range(min(activations.ROWS, feeder.split.target.rows)))
    assert all(k == 0 or row_of[k - 1] < row_of[k] for k in chosen)
