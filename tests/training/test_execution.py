"""How a step is cut up and where memory ends change nothing of a run but rounding."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from flare_ray import registry
from flare_ray.training.engine import Group
from flare_ray.training.feeder import Feeder
from flare_ray.training.memory import fitting_micro_batch
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]

FORMS = [("xlm_roberta", "nusax"), ("xlm_roberta", "tydiqa"), ("llama", "tydiqa")]
CUTS = [Group(micro_batch=5), Group(zero_stage=1), Group(zero_stage=2), Group(zero_stage=2, micro_batch=5)]


def long_answer(row: dict[str, Any]) -> str:
    """Answers of many lengths; the sandbox's own are one token long."""
    return " ".join([row["answers"][0]["text"], *row["question"].split()[: len(row["context"]) % 5]])


def losses(record: dict[str, Any]) -> list[float]:
    """Training losses of a run's history."""
    return [entry["train_loss"] for entry in record["history"]]


@pytest.mark.parametrize(("family", "task"), FORMS)
def test_micro_batches_and_zero_stages_change_nothing_but_rounding(
    family: str,
    task: str,
    open_bench: Open,
    settings_of: Settings,
    without_dropout: Callable[[Workbench], Workbench],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Classification, spans and generation: the means over rows, windows and answer tokens all stay the batch's."""
    settings = settings_of("lora", family, task, batch_size=24)
    bench = without_dropout(open_bench(family, task))
    if family == "llama":
        monkeypatch.setattr(bench.task, "answer", long_answer)
        items = bench.posed.form.items(bench.features("qal", "train", settings["max_length"]))
        assert len(set(items.tolist())) > 1, "answers of one length would not tell a weighted mean"
    plain = losses(train_run(bench, "lora", "qal", settings, 1, tmp_path / "plain"))
    for group in CUTS:
        bench.group = group
        found = train_run(bench, "lora", "qal", settings, 1, tmp_path / "cut")
        assert losses(found) == pytest.approx(plain, abs=1e-4), group


def forget_above(bench: Workbench, rows: int, training: bool = True) -> list[int]:
    """Lets the base run out of memory over so many rows; returns the sizes it was asked for."""
    asked: list[int] = []
    load = bench.load_base

    def loaded(quantization: str | None = None) -> Any:
        model = load(quantization)

        def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            if module.training == training:
                asked.append(len(kwargs["input_ids"]))
                torch.rand(1)  # as dropout does: a second attempt must not begin where the first one ended
                if asked[-1] > rows:
                    raise torch.OutOfMemoryError("CUDA out of memory")

        model.register_forward_pre_hook(hook, with_kwargs=True)
        return model

    bench.load_base = loaded  # type: ignore[method-assign]
    return asked


def test_out_of_memory_halves_the_micro_batch_and_not_the_batch(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of()
    bench = open_bench()
    asked = forget_above(bench, 7)
    found = train_run(bench, "lora", "qal", settings, 1, tmp_path / "found")
    assert asked[:3] == [24, 12, 6]
    assert found["cost"]["micro_batch"] == 6
    given = open_bench(group=Group(micro_batch=6))
    record = train_run(given, "lora", "qal", settings, 1, tmp_path / "given")
    assert losses(found) == losses(record)
    assert found["history"][-1]["step"] == record["history"][-1]["step"] == 3
    logits = [
        torch.tensor(pq.read_table(tmp_path / name / "predictions.parquet")["logits"].to_pylist())
        for name in ("found", "given")
    ]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_a_base_model_that_ran_out_of_memory_is_the_one_of_a_smaller_micro_batch(
    open_raw: Open, settings_of: Settings, tmp_path: Path
) -> None:
    """The task head is drawn anew with the second attempt: from the same seed."""
    bench = open_raw()
    forget_above(bench, 12)
    found = train_base(bench, settings_of(), 1, tmp_path / "found")
    record = train_base(open_raw(group=Group(micro_batch=12)), settings_of(), 1, tmp_path / "given")
    assert found["cost"]["micro_batch"] == 12
    assert losses(found) == losses(record)
    assert (tmp_path / "found" / "model.safetensors").read_bytes() == (
        tmp_path / "given" / "model.safetensors"
    ).read_bytes()


def test_a_row_that_does_not_fit_ends_the_run(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench()
    asked = forget_above(bench, 0)
    with pytest.raises(torch.OutOfMemoryError):
        train_run(bench, "lora", "qal", settings_of(), 1, tmp_path)
    assert asked == [24, 12, 6, 3, 2, 1]


def test_evaluation_out_of_memory_takes_fewer_rows_and_leaves_training_alone(
    open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    bench = open_bench()
    asked = forget_above(bench, 9, training=False)
    found = train_run(bench, "lora", "qal", settings_of(), 1, tmp_path / "found")
    assert max(asked) > 9
    assert found["cost"]["micro_batch"] == 24
    record = train_run(open_bench(), "lora", "qal", settings_of(), 1, tmp_path / "plain")
    assert found["metrics"] == record["metrics"]
    assert losses(found) == losses(record)


@pytest.mark.parametrize(("fit", "expected"), [(24, 24), (23, 12), (5, 3), (1, 1)])
def test_the_fitting_micro_batch_is_found_by_halving(
    fit: int, expected: int, open_bench: Open, settings_of: Settings
) -> None:
    bench, row, settings = open_bench(), registry.load("methods", "lora"), settings_of()
    asked = forget_above(bench, fit)
    model = row.build(bench.model(), settings, bench.posed)
    train = Feeder(bench, row, settings, bench.split(row, settings, "qal", "train"), "qal", "train")
    assert fitting_micro_batch(model, train, settings, Group()) == expected
    assert asked[-1] == expected
    assert all(p.grad is None for p in model.parameters()), "the trial leaves no gradient behind"
    given = replace(Group(), micro_batch=6)
    assert fitting_micro_batch(model, train, settings, given) <= 6, "a given micro-batch is where it begins"


def test_no_fitting_micro_batch_says_what_helps(open_bench: Open, settings_of: Settings) -> None:
    bench, row, settings = open_bench(), registry.load("methods", "lora"), settings_of()
    forget_above(bench, 0)
    model = row.build(bench.model(), settings, bench.posed)
    train = Feeder(bench, row, settings, bench.split(row, settings, "qal", "train"), "qal", "train")
    with pytest.raises(torch.OutOfMemoryError, match=r"one sequence of \d+ tokens .* lower max_length"):
        fitting_micro_batch(model, train, settings, Group())
