"""An interrupted training goes on from its checkpoint and ends where it would have ended, to the bit."""

import json
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from flare_ray.store import Store
from flare_ray.store.files import Files
from flare_ray.training import checkpoints as checkpoints_module
from flare_ray.training.checkpoints import MANIFEST, Checkpoints, Keeper
from flare_ray.training.engine import Group
from flare_ray.training.fit import Diverged, Stopped
from flare_ray.training.stages import train_base, train_run
from flare_ray.training.workbench import Workbench

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]
NEVER = 1e9


def at_call(number: int) -> Callable[[], bool]:
    """Says yes when it is asked for the n-th time: after n steps of one process."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= number


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the result, without times."""
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]
    found = {k: record[k] for k in ("validation", "chosen_step", "metrics", "rows", "data")}
    return found | {"curve": curve}


def outcome(record: dict[str, Any], out: Path) -> tuple[Any, ...]:
    """Everything that must be equal: the record, the predictions, the adapter's bytes."""
    adapters = sorted((out / "adapter").glob("*.safetensors"))
    assert adapters
    table = pq.read_table(out / "predictions.parquet").to_pylist()
    return told(record), table, [file.read_bytes() for file in adapters]


def in_pieces(
    run: Callable[[Keeper], dict[str, Any]], store: Store, *steps: int
) -> tuple[dict[str, Any], Keeper]:
    """Stops a run after so many steps of each process, and lets the last one finish."""
    keeper = Keeper(store, "work", NEVER)
    for number in steps:
        with pytest.raises(Stopped, match="its checkpoint is kept"):
            run(replace(keeper, stop_requested=at_call(number)))
        for draws in (torch.rand, np.random.rand):  # another process has drawn other numbers
            draws(17)
        random.random()
    return run(keeper), keeper


PLAIN = {"epochs": 2, "validate_every": 2, "dropout": 0.1, "batch_size": 16}
"""64 rows: 4 steps an epoch, a validation after every second one."""


@pytest.mark.parametrize(
    ("family", "task", "method", "group", "precision", "steps"),
    [
        ("xlm_roberta", "nusax", "flare", Group(micro_batch=5), "fp32", (1, 1, 3)),
        ("xlm_roberta", "nusax", "x_mixup", Group(), "fp32", (3,)),
        ("llama", "nusax", "lora", Group(zero_stage=1, micro_batch=6), "bf16", (2, 3)),
        ("llama", "nusax", "flare", Group(zero_stage=2), "fp32", (4,)),
        ("xlm_roberta", "nusax", "lora", Group(zero_stage=3), "bf16", (1, 4)),
        pytest.param("mt5", "nusax", "flare", Group(), "bf16", (8,), marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    family: str,
    task: str,
    method: str,
    group: Group,
    precision: str,
    steps: tuple[int, ...],
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
) -> None:
    settings = settings_of(method, family, task, precision=precision, **PLAIN)

    def run(keeper: Keeper | None, out: Path = tmp_path / "pieces") -> dict[str, Any]:
        bench = open_bench(family, task, group=group)
        bench.subject = replace(bench.subject, precision=precision)
        return train_run(bench, method, "qal", settings, 3, out, keeper=keeper)

    whole = run(None, tmp_path / "whole")
    pieces, keeper = in_pieces(run, Store(str(tmp_path / "store")), *steps)
    assert outcome(pieces, tmp_path / "pieces") == outcome(whole, tmp_path / "whole")
    assert pieces["cost"]["resumptions"] == len(steps)
    assert keeper.store.names(keeper.place) == [str(sum(steps))], "only the newest is kept"


def test_an_interrupted_base_model_is_the_same_file(
    open_raw: Open, settings_of: Settings, tmp_path: Path
) -> None:
    settings = settings_of(**PLAIN)

    def run(keeper: Keeper | None, out: Path = tmp_path / "pieces") -> dict[str, Any]:
        return train_base(open_raw(), settings, 1, out, keeper=keeper)

    whole = run(None, tmp_path / "whole")
    pieces, _ = in_pieces(run, Store(str(tmp_path / "store")), 3)
    assert told(pieces) == told(whole)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("pieces", "whole")]
    assert models[0] == models[1]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 2])
def test_an_interrupted_run_on_a_gpu_ends_as_an_uninterrupted_one(
    stage: int,
    precision: str,
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With kernels that give the same bits twice."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = settings_of("flare", precision=precision, **PLAIN)

    def run(keeper: Keeper | None, out: Path = tmp_path / "pieces") -> dict[str, Any]:
        bench = open_bench(group=Group(zero_stage=stage, device="cuda:0"))
        bench.subject = replace(bench.subject, precision=precision, attention="eager")
        return train_run(bench, "flare", "qal", settings, 3, out, keeper=keeper)

    torch.use_deterministic_algorithms(True)
    try:
        whole = run(None, tmp_path / "whole")
        pieces, _ = in_pieces(run, Store(str(tmp_path / "store")), 1, 3)
    finally:
        torch.use_deterministic_algorithms(False)
    assert outcome(pieces, tmp_path / "pieces") == outcome(whole, tmp_path / "whole")


@pytest.fixture
def short(open_bench: Open, settings_of: Settings, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Executes one short run, with a keeper or without."""

    def run(keeper: Keeper | None = None, group: Group = Group(), **changes: Any) -> dict[str, Any]:  # noqa: B008
        bench = open_bench(group=group)
        settings = settings_of("lora", **{**PLAIN, **changes})
        return train_run(bench, "lora", "qal", settings, 1, tmp_path / "out", keeper=keeper)

    return run


Short = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def plain(
    open_bench: Open, settings_of: Settings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the short run's record says when nobody interrupts it."""
    out = tmp_path_factory.mktemp("plain")
    return told(train_run(open_bench(), "lora", "qal", settings_of("lora", **PLAIN), 1, out))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def stopped_after(short: Short, store: Store, steps: int, **rest: Any) -> Keeper:
    with pytest.raises(Stopped):
        short(Keeper(store, "work", NEVER, at_call(steps)), **rest)
    return Keeper(store, "work", NEVER)


def test_work_that_is_shorter_than_the_interval_writes_nothing(short: Short, store: Store) -> None:
    short(Keeper(store, "work", NEVER))
    assert store.names("checkpoints") == []


def test_writing_one_after_every_step_changes_nothing(
    short: Short, store: Store, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Checkpoints.save

    def counted(self: Checkpoints, step: int, *rest: Any) -> bool:
        saved.append(step)
        random.random(), np.random.rand(), torch.rand(1)  # a driver that waits between attempts may draw
        return save(self, step, *rest)

    monkeypatch.setattr(Checkpoints, "save", counted)
    monkeypatch.setattr("flare_ray.training.pace._SHARE", 0)
    keeper = Keeper(store, "work", 0)
    assert told(short(keeper)) == plain
    assert saved == list(range(1, 9))
    assert store.names(keeper.place) == ["8"]
    again = short(keeper)  # as when a worker died between its last step and its record
    assert told(again) == plain
    assert saved == list(range(1, 9)), "nothing was left to train"
    keeper.forget()
    assert store.names("checkpoints/work") == []


def test_a_checkpoint_that_was_expensive_is_not_written_again_soon(
    short: Short, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Checkpoints.save

    def counted(self: Checkpoints, step: int, *rest: Any) -> bool:
        saved.append(step)
        return save(self, step, *rest)

    monkeypatch.setattr(Checkpoints, "save", counted)
    monkeypatch.setattr("flare_ray.training.pace._SHARE", 1e9)
    short(Keeper(store, "work", 0))
    assert saved == [1]


def test_a_killed_run_goes_on_from_the_last_whole_checkpoint(
    short: Short, store: Store, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it writes its third: the file is there, the manifest is not."""
    monkeypatch.setattr("flare_ray.training.pace._SHARE", 0)
    finish = Checkpoints._finish

    def killed(self: Checkpoints, folder: str, manifest: dict[str, Any]) -> list[str]:
        if manifest["step"] == 3:
            raise KeyboardInterrupt
        return finish(self, folder, manifest)

    monkeypatch.setattr(Checkpoints, "_finish", killed)
    with pytest.raises(KeyboardInterrupt):
        short(Keeper(store, "work", 0))
    monkeypatch.undo()
    assert store.names("checkpoints/work") == ["2", "3"]
    seen: list[int] = []
    resumed = short(Keeper(store, "work", NEVER, lambda: bool(seen.append(1))))
    assert len(seen) == 6, "of eight steps two were done"
    assert told(resumed) == plain


def torn(files: Files, how: str) -> None:
    """Damages the one checkpoint of some work."""
    (folder,) = Path(files.path("checkpoints/work")).iterdir()
    manifest = json.loads((folder / MANIFEST).read_text())
    data = Path(files.path(manifest["files"]["shared"]["place"]))
    if how == "short":
        data.write_bytes(data.read_bytes()[:-1])
    elif how == "other":
        data.write_bytes(data.read_bytes()[:-1] + b"\x17")
    elif how == "missing":
        data.unlink()
    elif how == "no manifest":
        (folder / MANIFEST).unlink()
    else:
        (folder / MANIFEST).write_text(how)


@pytest.mark.parametrize("how", ["short", "other", "missing", "no manifest", '{"step": 3'])
def test_a_damaged_checkpoint_is_not_read(
    how: str, short: Short, store: Store, plain: dict[str, Any]
) -> None:
    keeper = stopped_after(short, store, 3)
    torn(store.files, how)
    seen: list[int] = []
    found = short(replace(keeper, stop_requested=lambda: bool(seen.append(1))))
    assert len(seen) == 8
    assert told(found) == plain


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (Group(zero_stage=2), "zero_stage 0 (now 2)"),
        (Group(micro_batch=4), "micro_batch None (now 4)"),
        (Group(gradient_checkpointing=True), "gradient_checkpointing False (now True)"),
    ],
)
def test_what_was_made_in_another_way_is_not_loaded_and_says_so(
    group: Group, said: str, short: Short, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = stopped_after(short, store, 3)
    with caplog.at_level(logging.WARNING):
        found = short(keeper, group)
    assert f"work: the checkpoint at step 3 was written with {said}: starting over" in caplog.text
    assert "resumptions" not in found["cost"]
    assert told(found) == told(short(group=group))


def test_another_version_starts_over(
    short: Short,
    store: Store,
    plain: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = stopped_after(short, store, 3)
    monkeypatch.setattr(checkpoints_module.flare_ray, "__version__", "9")
    assert told(short(keeper)) == plain
    assert "flare_ray 0" in caplog.text
    assert "(now 9)" in caplog.text


def test_storage_that_fails_costs_the_checkpoint_and_not_the_training(
    short: Short,
    store: Store,
    plain: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Files, "put", full)
    assert told(short(Keeper(store, "work", 0))) == plain
    assert "no checkpoint at step 1: StoreFull" in caplog.text
    with pytest.raises(Stopped, match="stopped at step 2 of 8: its checkpoint could not be written"):
        short(Keeper(store, "work", NEVER, at_call(2)))


def test_a_training_that_diverges_leaves_a_good_checkpoint(short: Short, store: Store) -> None:
    diverging = {"learning_rate": 1e30, "max_grad_norm": 1e30, "validate_every": 8}
    with pytest.raises(Diverged, match=r"the loss is nan at step \d of 8; no validation came before"):
        short(Keeper(store, "work", 0), **diverging)
    (name,) = store.names("checkpoints/work")
    (file,) = (Path(store.root) / "checkpoints/work" / name).glob("*-shared.safetensors")
    assert load_file(file)["losses"].isfinite().all()


def test_memory_that_ran_out_is_remembered_and_a_smaller_micro_batch_begins_anew(
    open_bench: Open, settings_of: Settings, store: Store, tmp_path: Path
) -> None:
    """The first step of each attempt tells how many rows went into its pass."""
    settings = settings_of("lora", **PLAIN)

    def run(keeper: Keeper | None, most: int) -> tuple[dict[str, Any], list[int]]:
        bench, asked = open_bench(), []
        load = bench.load_base

        def loaded(quantization: str | None = None) -> Any:
            model = load(quantization)

            def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
                if module.training:
                    asked.append(len(kwargs["input_ids"]))
                    if asked[-1] > most:
                        raise torch.OutOfMemoryError("CUDA out of memory")

            model.register_forward_pre_hook(hook, with_kwargs=True)
            return model

        bench.load_base = loaded  # type: ignore[method-assign]
        return train_run(bench, "lora", "qal", settings, 1, tmp_path / "out", keeper=keeper), asked

    whole, asked = run(None, 8)
    assert (asked[:3], len(asked)) == ([16, 8, 8], 1 + 2 * 8)
    with pytest.raises(Stopped):
        run(Keeper(store, "work", NEVER, at_call(3)), 8)
    resumed, asked = run(Keeper(store, "work", NEVER), 8)
    assert asked == [8] * 2 * 5, "it goes on with the micro-batch that was found"
    assert told(resumed) == told(whole)

    with pytest.raises(Stopped):
        run(Keeper(store, "less", NEVER, at_call(3)), 8)
    less, asked = run(Keeper(store, "less", NEVER), 4)  # on a smaller device
    assert (asked[:2], len(asked)) == ([8, 4], 1 + 4 * 8)
    assert told(less) == told(run(None, 4)[0])


def test_the_time_of_earlier_processes_counts(short: Short, store: Store) -> None:
    keeper = stopped_after(short, store, 3)
    (manifest,) = Checkpoints(keeper, Group())._manifests()
    manifest["facts"]["seconds"] = 1000.0
    manifest["facts"]["train_seconds"] = 500.0
    store.write_bytes(f"{keeper.place}/3/{MANIFEST}", json.dumps(manifest).encode())
    cost = short(keeper)["cost"]
    assert cost["wall_seconds"] > 1000
    assert 500 < cost["train_seconds"] < 600
