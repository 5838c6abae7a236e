"""Laws of training: on a real tiny XLM-R, real DeepSpeed, the small sandbox's rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from flare_ray import registry
from flare_ray.training.engine import Group, linear_factor
from flare_ray.training.evaluation import predict
from flare_ray.training.fit import Diverged, fit
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]


def results(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the result, without times."""
    kept = {"metrics", "validation", "chosen_epoch", "rows"}
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    return {k: v for k, v in record.items() if k in kept} | {"curve": curve}


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_schedule_is_linear_with_warm_up(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rising = max(1, round(0.1 * steps))
    theirs = get_linear_schedule_with_warmup(optimizer, rising, steps)
    for step in range(steps):
        # Ours is one step ahead while rising: the first step already trains.
        expected = (step + 1) / rising if step < rising else theirs.get_last_lr()[0]
        assert linear_factor(step, steps, 0.1) == pytest.approx(expected)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("method", ["zero_shot", "lora", "flare"])
def test_a_run_is_the_same_alone_and_after_others(
    method: str, base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    alone = train_run(open_bench(base_folder), method, "qtu", settings, 5, tmp_path / "alone")
    bench = open_bench(base_folder)
    for k, (other, language) in enumerate([("flare", "qal"), ("lora", "qtu"), ("zero_shot", "qal")]):
        train_run(bench, other, language, settings, k, tmp_path / f"other{k}")
    packed = train_run(bench, method, "qtu", settings, 5, tmp_path / "packed")
    assert results(packed) == results(alone)
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in ("alone", "packed")]
    assert tables[0].equals(tables[1])


def test_the_base_stays_bitwise_unchanged(
    base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    bench = open_bench(base_folder)
    before = {name: tensor.clone() for name, tensor in bench.model().state_dict().items()}
    for method in ("lora", "flare"):
        train_run(bench, method, "qal", settings, 1, tmp_path / method)
    after = bench.model().state_dict()
    assert before.keys() == after.keys(), "no adapter is left in the base"
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_source_states_are_computed_once_for_a_pack(
    base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    bench = open_bench(base_folder)
    for k, language in enumerate(["qal", "qtu", "qal"]):
        train_run(bench, "flare", language, {**settings, "rank": 2 + k}, k, tmp_path / str(k))
    assert bench.sources.computed == 3, "one pass each over the English train, validation and test split"


def test_cached_source_states_give_what_the_source_pass_gives(
    base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    cached = train_run(open_bench(base_folder), "flare", "qtu", settings, 1, tmp_path / "cached")
    passed = open_bench(base_folder, source_cache_mb=0)
    record = train_run(passed, "flare", "qtu", settings, 1, tmp_path / "passed")
    assert passed.sources.computed == 0
    for one, other in zip(cached["history"], record["history"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)
    logits = [
        pq.read_table(tmp_path / name / "predictions.parquet")["logits"] for name in ("cached", "passed")
    ]
    pairs = zip(*(column.to_pylist() for column in logits), strict=True)
    assert max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)) < 1e-3


@pytest.mark.parametrize("micro", [5, 16])
def test_micro_batches_change_nothing_but_rounding(
    micro: int, base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**settings, "no_dropout": True}
    losses = []
    for group in (Group(), Group(micro_batch=micro)):
        bench = open_bench(base_folder, group)
        _without_dropout(bench)
        record = train_run(bench, "lora", "qal", settings, 1, tmp_path / str(group.micro_batch))
        losses.append([entry["train_loss"] for entry in record["history"]])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_stages_change_nothing_but_rounding(
    stage: int, base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    plain = train_run(open_bench(base_folder), "lora", "qal", settings, 1, tmp_path / "0")
    sharded = train_run(
        open_bench(base_folder, Group(zero_stage=stage)), "lora", "qal", settings, 1, tmp_path / "z"
    )
    for one, other in zip(plain["history"], sharded["history"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "flare"])
def test_the_kept_adapter_gives_the_kept_predictions(
    method: str, base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    bench = open_bench(base_folder)
    train_run(bench, method, "qtu", settings, 1, tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(base_folder, num_labels=3)
    model = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    reads_source = registry.load("methods", method).reads_source
    feeder = bench.feeder(bench.split("qtu", "test", settings["max_length"], reads_source))
    logits = predict(model, feeder, Group())
    kept = pq.read_table(tmp_path / "predictions.parquet")
    torch.testing.assert_close(
        torch.tensor(logits), torch.tensor(kept["logits"].to_pylist()), atol=1e-4, rtol=0
    )


def test_the_earliest_best_epoch_is_chosen_and_tested(
    base_folder: Path, open_bench: Open, settings: dict[str, Any], tmp_path: Path
) -> None:
    bench = open_bench(base_folder)
    record = train_run(bench, "lora", "qal", {**settings, "epochs": 4}, 1, tmp_path)
    curve = [entry["validation_macro_f1"] for entry in record["history"]]
    assert record["chosen_epoch"] == curve.index(max(curve)) + 1
    rows = len(bench.split("qal", "train", 32, False))
    assert record["chosen_step"] == record["chosen_epoch"] * -(-rows // 32)


def test_a_diverged_run_names_its_step(base_folder: Path, open_bench: Open, settings: dict[str, Any]) -> None:
    bench = open_bench(base_folder)
    method = registry.load("methods", "lora")
    model = get_peft_model(bench.model(), method.adapter(settings, bench.family))
    train, validation = (
        bench.feeder(bench.split("qal", name, 32, False)) for name in ("train", "validation")
    )
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step \d+ \(epoch \d+\)"):
        fit(
            model,
            train,
            validation,
            bench.task,
            {**settings, "learning_rate": 1e30, "max_grad_norm": 1e30},
            1,
            Group(),
        )


def _without_dropout(bench: Workbench) -> None:
    """Dropout draws differ with the number of passes; everything else must not."""
    loaded = bench.load_base()
    for module in loaded.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(loaded.config, name, 0.0)
    bench._base = loaded
