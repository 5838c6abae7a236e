"""Source states from memory are what a pass over the source gives, and are computed once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from flare_ray import registry
from flare_ray.training.feeder import Feeder
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench
from flare_ray.translation.checkpoints import flores

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("family", "task", "stacks"),
    [
        ("xlm_roberta", "nusax", 1),
        ("mt5", "nusax", 2),
        ("llama", "nusax", 1),
        pytest.param("xlm_roberta", "tydiqa", 1, marks=pytest.mark.slow),
    ],
)
def test_cached_source_states_give_what_the_source_pass_gives(
    family: str, task: str, stacks: int, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of("flare", family, task)
    if task == "tydiqa":
        settings["max_length"] = 48  # several windows a row
    benches = {"cached": open_bench(family, task), "passed": open_bench(family, task, source_cache="off")}
    records = {
        name: train_run(bench, "flare", "qtu", settings, 1, tmp_path / name)
        for name, bench in benches.items()
    }
    assert benches["cached"].sources.computed == 3
    assert benches["passed"].sources.computed == 0
    kept = next(iter(benches["cached"].sources._kept.values()))
    assert {len(piece) for piece in kept.pieces} == {stacks}
    for one, other in zip(records["cached"]["history"], records["passed"]["history"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in benches]
    assert tables[0]["prediction"].equals(tables[1]["prediction"])
    if "logits" in tables[0].column_names:
        logits = [torch.tensor(table["logits"].to_pylist()) for table in tables]
        torch.testing.assert_close(*logits, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ["xlm_roberta", "mt5", "llama"])
@pytest.mark.parametrize("training", [True, False])
def test_stated_and_read_sources_give_the_same_output(
    family: str, training: bool, open_bench: Open, settings_of: Settings
) -> None:
    """Of the model with untrained but noisy adapters, so that every fused layer speaks."""
    settings, row = settings_of("flare", family), registry.load("methods", "flare")
    outputs = []
    for mode in ("memory", "off"):
        bench = open_bench(family, source_cache=mode)
        torch.manual_seed(0)
        model = row.build(bench.model(), settings, bench.posed).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        split = bench.split(row, settings, "qtu", "validation")
        feeder = Feeder(bench, row, settings, split, "qtu", "validation", row.encode_source(model))
        inputs = feeder.inputs([0, 7, 3, 11, 20], step=1 if training else None)
        assert ("source_states" in inputs) == (mode == "memory")
        with torch.no_grad():
            out = model(**inputs)
        real = inputs["attention_mask"].bool()
        outputs.append(out.logits[real] if out.logits.dim() == 3 else out.logits)
    torch.testing.assert_close(*outputs, atol=2e-4, rtol=1e-4)


def test_source_states_are_computed_once_for_a_pack(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench()
    for k, language in enumerate(["qal", "qtu", "qal"]):
        train_run(bench, "flare", language, settings_of("flare", rank=2 + k), k, tmp_path / str(k))
    assert bench.sources.computed == 3, "one pass each over the English train, validation and test split"
    train_run(bench, "flare", "qal", settings_of("flare", source_offset=0), 1, tmp_path / "offset")
    assert bench.sources.computed == 6, "other layers are other states"


@pytest.mark.parametrize(
    ("family", "task"), [("xlm_roberta", "nusax"), ("mt5", "nusax"), ("llama", "tydiqa")]
)
def test_memory_and_disk_give_the_same_bits_whoever_computed_them(
    family: str, task: str, open_bench: Open, settings_of: Settings, own_cache: Path, tmp_path: Path
) -> None:
    """Held in memory; written to disk; read there by a later pack. Read as text it is the same but for rounding."""
    settings = settings_of("flare", family, task, dropout=0.1)
    benches = {
        "memory": open_bench(family, task, source_cache="memory"),
        "writes": open_bench(family, task, source_cache="disk"),
        "reads": open_bench(family, task, source_cache="disk"),
        "too large": open_bench(family, task, source_cache_mb=0.01),
        "off": open_bench(family, task, source_cache="off"),
    }
    found = {}
    for name, bench in benches.items():
        if name == "writes":
            train_run(bench, "flare", "qal", settings | {"rank": 2}, 2, tmp_path / "another")
        record = train_run(bench, "flare", "qtu", settings, 1, tmp_path / name)
        curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
        found[name] = curve, record["metrics"], pq.read_table(tmp_path / name / "predictions.parquet")
    assert {name: bench.sources.computed for name, bench in benches.items()} == {
        "memory": 3,
        "writes": 3,
        "reads": 0,
        "too large": 0,
        "off": 0,
    }
    assert found["memory"] == found["writes"] == found["reads"] == found["too large"]
    losses = [[entry["train_loss"] for entry in found[name][0]] for name in ("memory", "off")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_other_weights_other_layers_and_other_text_are_other_states(
    open_bench: Open, open_raw: Open, settings_of: Settings, own_cache: Path, tmp_path: Path
) -> None:
    def entries() -> set[str]:
        return {folder.name for folder in (own_cache / "source-states").iterdir() if folder.is_dir()}

    settings = settings_of("flare")
    train_run(open_bench(source_cache="disk"), "flare", "qal", settings, 1, tmp_path / "first")
    first = entries()
    assert len(first) == 3
    train_run(open_bench(source_cache="disk"), "flare", "qtu", settings | {"rank": 2}, 2, tmp_path / "same")
    assert entries() == first, "not of language, rank or seed"
    for number, (bench, changes) in enumerate(
        [
            (open_raw(source_cache="disk"), {}),
            (open_bench(source_cache="disk"), {"source_offset": 0}),
            (open_bench(source_cache="disk"), {"max_length": 12}),
        ],
        2,
    ):
        train_run(bench, "flare", "qal", settings | changes, 1, tmp_path / str(number))
        assert len(entries()) == 3 * number


@pytest.mark.parametrize("family", ["xlm_roberta", "llama"])
def test_a_translation_models_states_are_its_encoders_on_the_text(
    family: str, small_sandbox: Path, open_bench: Open, settings_of: Settings
) -> None:
    settings, row = settings_of("flare_mt", family), registry.load("methods", "flare_mt")
    tokenizer = AutoTokenizer.from_pretrained(settings["mt_model"], src_lang=flores("qtu"))
    encoder = AutoModelForSeq2SeqLM.from_pretrained(settings["mt_model"]).get_encoder().eval()
    for megabytes in (2048, 0):
        bench = open_bench(family, source_cache_mb=megabytes)
        split = bench.split(row, settings, "qtu", "test")
        feeder = Feeder(bench, row, settings, split, "qtu", "test")
        chosen = [5, 0, 47, 5]
        inputs = feeder.inputs(chosen)
        for place, k in enumerate(chosen):
            line = split.target.table.slice(k, 1).to_pylist()[0]
            text = bench.task.prompt(line) if family == "llama" else line["text"]
            tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=settings["max_length"])
            with torch.no_grad():
                expected = encoder(**tokens).last_hidden_state[0]
            real = inputs["source_attention_mask"][place].bool()
            torch.testing.assert_close(inputs["source_states"][place][real], expected, atol=1e-4, rtol=1e-4)
        assert len(bench.sources._kept) == (1 if megabytes else 0)


def test_a_translation_models_states_are_computed_once_a_language_and_split(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench()
    for k, language in enumerate(["qal", "qtu", "qal"]):
        train_run(bench, "flare_mt", language, settings_of("flare_mt"), k, tmp_path / str(k))
    assert bench.sources.computed == 6
    assert len(bench._translators) == 1
