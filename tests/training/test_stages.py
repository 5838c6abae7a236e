"""Laws of a run: on real tiny models, real DeepSpeed, the small sandbox's rows."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from flare_ray import registry
from flare_ray.training import fit as fit_module
from flare_ray.training.engine import Group, linear_factor, trained_state
from flare_ray.training.evaluation import predict
from flare_ray.training.feeder import Feeder
from flare_ray.training.fit import Diverged, fit
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]


def trained(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the training, without times."""
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    return {k: record[k] for k in ("validation", "chosen_epoch", "chosen_step")} | {"curve": curve}


def results(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the result, without times."""
    return trained(record) | {k: record[k] for k in ("metrics", "rows", "data")}


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
    method: str, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of(method)
    alone = train_run(open_bench(), method, "qtu", settings, 5, tmp_path / "alone")
    bench = open_bench()
    for k, (other, language) in enumerate([("flare", "qal"), ("lora", "qtu"), ("zero_shot", "qal")]):
        train_run(bench, other, language, settings_of(other), k, tmp_path / f"other{k}")
    packed = train_run(bench, method, "qtu", settings, 5, tmp_path / "packed")
    assert results(packed) == results(alone)
    tables = [pq.read_table(tmp_path / name / "predictions.parquet") for name in ("alone", "packed")]
    assert tables[0].equals(tables[1])


def test_the_base_stays_bitwise_unchanged(open_bench: Open, settings_of: Settings, tmp_path: Path) -> None:
    bench = open_bench()
    before = {name: tensor.clone() for name, tensor in bench.model().state_dict().items()}
    for method in ("lora", "flare", "x_mixup"):
        train_run(bench, method, "qal", settings_of(method), 1, tmp_path / method)
    after = bench.model().state_dict()
    assert before.keys() == after.keys(), "no adapter is left in the base"
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", ["lora", "flare"])
def test_the_kept_adapter_gives_the_kept_predictions(
    method: str,
    open_bench: Open,
    base_of: Callable[[str, str], Path],
    settings_of: Settings,
    tmp_path: Path,
) -> None:
    bench, settings, row = open_bench(), settings_of(method), registry.load("methods", method)
    train_run(bench, method, "qtu", settings, 1, tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(base_of("xlm_roberta", "nusax"), num_labels=3)
    model = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    split = bench.split(row, settings, "qtu", "test")
    found = predict(model, Feeder(bench, row, settings, split, "qtu", "test", row.encode_source(model)))
    kept = pq.read_table(tmp_path / "predictions.parquet")
    torch.testing.assert_close(
        torch.tensor([one["logits"] for one in found]),
        torch.tensor(kept["logits"].to_pylist()),
        atol=1e-4,
        rtol=0,
    )


# ---- choosing the state


def test_validation_comes_every_k_steps_and_at_the_end(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of(epochs=2, validate_every=4)  # 64 rows in batches of 24: 3 steps an epoch
    seen: list[dict[str, float]] = []
    record = train_run(open_bench(), "lora", "qal", settings, 1, tmp_path, seen.append)
    assert [entry["step"] for entry in record["history"]] == [4, 6]
    assert [entry["epoch"] for entry in record["history"]] == pytest.approx([4 / 3, 2])
    assert seen == record["history"]
    whole = train_run(open_bench(), "lora", "qal", {**settings, "validate_every": None}, 1, tmp_path / "e")
    assert [entry["step"] for entry in whole["history"]] == [3, 6]
    losses = [[entry["train_loss"] for entry in one["history"]] for one in (record, whole)]
    # Validation disturbs no training: the mean loss of all six steps is the same.
    assert (4 * losses[0][0] + 2 * losses[0][1]) / 6 == pytest.approx(sum(losses[1]) / 2, abs=1e-6)


def test_the_earliest_best_state_is_chosen_and_tested(
    open_bench: Open, settings_of: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, scores, states = open_bench(), iter([1.0, 3.0, 3.0, 2.0]), []

    def scored(task: Any, table: Any, predictions: Any) -> dict[str, float]:
        return {task.metric: next(scores)}

    def watched(engine: Any, feeder: Feeder) -> Any:
        states.append(trained_state(engine.module, 0))
        return predict(engine, feeder)

    monkeypatch.setattr(fit_module, "score", scored)
    monkeypatch.setattr(fit_module, "predict", watched)
    tested = []
    monkeypatch.setattr(
        "flare_ray.training.stages.predict",
        lambda engine, feeder: tested.append(trained_state(engine.module, 0)) or predict(engine, feeder),
    )
    settings = settings_of(epochs=2, batch_size=32, validate_every=1)
    record = train_run(bench, "lora", "qal", settings, 1, tmp_path)
    assert (record["chosen_step"], record["chosen_epoch"]) == (2, 1)
    assert record["validation"] == {"validation_macro_f1": 3.0}
    chosen, others = states[1], (states[0], states[2], states[3])
    assert all(torch.equal(tested[0][name], chosen[name]) for name in chosen)
    assert all(any(not torch.equal(one[name], chosen[name]) for name in chosen) for one in others)
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    flat = {name.replace(".default", "").replace(".modules_to_save", ""): p for name, p in chosen.items()}
    assert {name: p.tolist() for name, p in saved.items()} == {name: p.tolist() for name, p in flat.items()}


@pytest.mark.parametrize("every", [None, 2])
def test_a_diverged_run_names_its_step(every: int | None, open_bench: Open, settings_of: Settings) -> None:
    bench, row = open_bench(), registry.load("methods", "lora")
    settings = settings_of(epochs=3, learning_rate=1e30, max_grad_norm=1e30, validate_every=every)
    model = row.build(bench.model(), settings, bench.posed)
    train, validation = (
        Feeder(bench, row, settings, bench.split(row, settings, "qal", name), "qal", name)
        for name in ("train", "validation")
    )
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step 2 of 9; no validation came before"):
        fit(model, train, validation, settings, 1, Group())


# ---- the test split


@pytest.mark.parametrize("method", ["lora", "flare"])
def test_the_test_split_is_read_once_after_training(
    method: str, open_bench: Open, settings_of: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, log = open_bench(), []
    read = bench.task.read

    def logged(source: str, language: str, split: str, **rest: Any) -> Any:
        log.append(f"{language} {split}")
        return read(source, language, split, **rest)

    monkeypatch.setattr(bench.task, "read", logged)
    train_run(bench, method, "qal", settings_of(method), 1, tmp_path, lambda entry: log.append("validated"))
    mine = [entry for entry in log if not entry.startswith("eng")]
    assert mine == ["qal train", "qal validation", "validated", "qal test"]
    assert log.index("validated") < min(k for k, entry in enumerate(log) if entry.endswith("test"))


@pytest.mark.parametrize("method", ["lora", "flare"])
def test_a_poisoned_test_split_changes_nothing_of_the_training(
    method: str,
    small_sandbox: Path,
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
) -> None:
    data = shutil.copytree(small_sandbox / "data" / "nusax", tmp_path / "nusax")
    for language in ("qal", "english"):
        file = data / language / "test.csv"
        ids = [line.split(",", 1)[0] for line in file.read_text().splitlines()[1:]]
        file.write_text("id,text,label\n" + "".join(f"{k},zzz {k} zzz,negative\n" for k in reversed(ids)))
    settings, records = settings_of(method), []
    for name, folder in [("clean", None), ("poisoned", data)]:
        bench = open_bench(data=folder)
        records.append(train_run(bench, method, "qal", settings, 1, tmp_path / name))
    assert trained(records[0]) == trained(records[1])
    assert records[0]["metrics"] != records[1]["metrics"]
    files = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("clean", "poisoned")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_order_of_the_english_rows_changes_nothing(
    small_sandbox: Path, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    """Rows meet by id, and what else a pass over the source reads has no say in a state."""
    data = shutil.copytree(small_sandbox / "data" / "nusax", tmp_path / "nusax")
    for file in (data / "english").glob("*.csv"):
        head, *rows = file.read_text().splitlines()
        file.write_text("\n".join([head, *reversed(rows)]) + "\n")
    settings, records = settings_of("flare"), []
    for name, folder in [("given", None), ("reversed", data)]:
        bench = open_bench(data=folder)
        records.append(train_run(bench, "flare", "qal", settings, 1, tmp_path / name))
    for one, other in zip(records[0]["history"], records[1]["history"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
    logits = [
        torch.tensor(pq.read_table(tmp_path / name / "predictions.parquet")["logits"].to_pylist())
        for name in ("given", "reversed")
    ]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=0)


def test_a_limited_run_reads_so_many_rows_of_each_split_and_stops_after_so_many_steps(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench(limit=8)
    settings = settings_of("flare", batch_size=4, epochs=3, max_steps=2, limit=8)
    record = train_run(bench, "flare", "qal", settings, 1, tmp_path)
    assert record["rows"] == {"train": 8, "validation": 8, "test": 8}
    assert [entry["step"] for entry in record["history"]] == [2]
    assert pq.read_table(tmp_path / "predictions.parquet").num_rows == 8
    target, source = bench.features("qal", "train", 32), bench.features("eng", "train", 32, parallel_to="qal")
    assert set(target.table["id"].to_pylist()) == set(source.table["id"].to_pylist())


def test_the_first_steps_are_those_of_a_training_of_as_many_epochs(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench(limit=16)
    records = [
        train_run(bench, "lora", "qal", settings_of(batch_size=8, **bound), 1, tmp_path / name)
        for name, bound in {"steps": {"epochs": 9, "max_steps": 4}, "epochs": {"epochs": 2}}.items()
    ]
    assert results(records[0]) == results(records[1])
