"""Checkpoints in a folder and in an object store: what is saved is read back, whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray.store import Store, open_store, patience
from flare_ray.store.guard import OtherStore
from flare_ray.training.checkpoints import MANIFEST, Checkpoints, Keeper
from flare_ray.training.engine import Group
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench
from tests.training.test_checkpoints import NEVER, PLAIN, in_pieces, outcome, told

FACTS = {"history": [{"step": 2, "validation_accuracy": 0.5}], "micro_batch": None}
SHARED = {"losses": torch.tensor([0.25, 1 / 3]), "parameter.w": torch.arange(6.0).reshape(2, 3).bfloat16()}
OWN = {"master.0": torch.tensor([1e-38, -0.0]), "random.torch": torch.arange(9, dtype=torch.uint8)}


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(
        str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/store"
    )


def steps(store: Store) -> set[str]:
    """Of which there are files; fsspec's memory leaves empty folders."""
    return {place.partition("/")[0] for place in store.files.find("checkpoints/work")}


@pytest.fixture
def kept(store: Store) -> Checkpoints:
    """Step 20 of some work, saved after step 5."""
    checkpoints = Checkpoints(Keeper(store, "work"), Group())
    for step in (5, 20):
        assert checkpoints.save(step, FACTS | {"tokens": step}, SHARED, OWN)
    return checkpoints


def test_what_is_saved_is_read_back_to_the_bit(kept: Checkpoints) -> None:
    found = kept.newest()
    assert found is not None
    assert (found.step, found.facts) == (20, FACTS | {"tokens": 20})
    assert found.tensors.keys() == SHARED.keys() | OWN.keys()
    for name, value in (SHARED | OWN).items():
        assert found.tensors[name].dtype == value.dtype
        assert torch.equal(found.tensors[name].view(torch.uint8), value.view(torch.uint8))


def test_only_the_newest_is_kept_until_it_is_forgotten(kept: Checkpoints, store: Store) -> None:
    assert steps(store) == {"20"}
    kept.keeper.forget()
    assert kept.newest() is None
    assert not store.files.find("checkpoints")


def test_other_work_is_left_alone(kept: Checkpoints, store: Store) -> None:
    other = Checkpoints(Keeper(store, "other"), Group())
    assert other.newest() is None
    other.save(1, FACTS, SHARED, OWN)
    other.keeper.forget()
    assert kept.newest() is not None


def test_a_file_without_a_manifest_is_no_checkpoint(kept: Checkpoints, store: Store) -> None:
    """Step 30 was being written: the one before it holds, and the next one clears both away."""
    store.write_bytes("checkpoints/work/30/some-shared.safetensors", b"half")
    found = kept.newest()
    assert found is not None
    assert found.step == 20
    assert kept.save(25, FACTS, SHARED, OWN)
    assert steps(store) == {"25"}


def test_the_one_before_is_read_where_the_newest_is_damaged(kept: Checkpoints, store: Store) -> None:
    """As when a machine goes down after a manifest is written and before the former one is removed."""
    whole = store.read_json(f"checkpoints/work/20/{MANIFEST}")
    store.write_json(f"checkpoints/work/30/{MANIFEST}", whole | {"step": 30})
    place = whole["files"]["shared"]["place"]
    found = kept.newest()
    assert found is not None
    assert found.step == 30
    store.write_bytes("checkpoints/work/30/bad", store.read_bytes(place)[:-1] + b"\x07")
    whole["files"]["shared"] |= {"place": "checkpoints/work/30/bad"}
    store.write_bytes(f"checkpoints/work/30/{MANIFEST}", json.dumps(whole | {"step": 30}).encode())
    found = kept.newest()
    assert found is not None
    assert found.step == 20


@pytest.mark.parametrize("group", [Group(zero_stage=1), Group(micro_batch=2), Group(device="cuda:0")])
def test_another_groups_checkpoint_is_never_loaded(kept: Checkpoints, group: Group) -> None:
    assert Checkpoints(kept.keeper, group).newest() is None
    assert kept.newest() is not None, "and stays for those who made it"


@pytest.mark.parametrize(
    ("zero_stage", "precision"), [(1, "fp32"), (2, "bf16"), (3, "fp32")], ids=lambda value: str(value)
)
def test_a_run_goes_on_from_any_store_at_any_zero_stage(
    zero_stage: int,
    precision: str,
    store: Store,
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    """The stages and precisions that are not among those of test_checkpoints.py."""
    settings = settings_of("lora", precision=precision, **PLAIN)

    def run(keeper: Keeper | None, out: Path = tmp_path / "pieces") -> dict[str, Any]:
        bench = open_bench(group=Group(zero_stage=zero_stage, micro_batch=7))
        bench.subject = replace(bench.subject, precision=precision)
        return train_run(bench, "lora", "qal", settings, 3, out, keeper=keeper)

    whole = run(None, tmp_path / "whole")
    pieces, _ = in_pieces(run, store, 2, 3)
    assert outcome(pieces, tmp_path / "pieces") == outcome(whole, tmp_path / "whole")
    assert steps(store) == {"5"}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    from tests.store.s3_server import s3_server

    with s3_server() as running:
        yield running


@pytest.mark.slow
def test_a_run_goes_on_from_an_s3_that_is_busy_and_loses_answers(
    server: Any,
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the driver's own, long waits are not what is tested
    store = Store(f"s3://b-{uuid.uuid4().hex[:10]}/study")
    store.fs.mkdir(store.root.partition("/")[0])
    settings = settings_of("flare", **PLAIN)

    def run(keeper: Keeper | None) -> dict[str, Any]:
        return train_run(open_bench(), "flare", "qal", settings, 1, tmp_path / "out", keeper=keeper)

    whole = run(None)
    server.busy, server.lost = 0.1, 0.05
    pieces, keeper = in_pieces(run, store, 1, 4)
    assert told(pieces) == told(whole)
    assert pieces["cost"]["resumptions"] == 2
    keeper.forget()
    server.heal()
    assert steps(store) == set()
    run(replace(keeper, every_seconds=NEVER))
    asked = [request for request in server.requests if "checkpoints" in request]
    assert len(asked) <= 2, "work that takes less than the interval pays one look"


@pytest.mark.parametrize(
    "forge",
    [
        lambda facts: facts["files"]["shared"].update(place="/etc/passwd"),
        lambda facts: facts["files"]["shared"].update(place="checkpoints/work/20/../../../../x"),
        lambda facts: facts["files"]["shared"].update(place="runs/f1/record.json"),
        lambda facts: facts.pop("files"),
        lambda facts: facts.update(step="20/../5"),
        lambda facts: facts.update(facts=[]),
        lambda facts: facts["files"].pop("shared"),
    ],
)
def test_a_forged_checkpoint_is_none(kept: Checkpoints, store: Store, forge: Callable[[Any], Any]) -> None:
    """Nothing is read from a place that a manifest names outside of its own work's folder."""
    place = f"checkpoints/work/20/{MANIFEST}"
    facts = store.read_json(place)
    forge(facts)
    store.write_json(place, facts)
    assert kept.newest() is None


def test_a_checkpoint_with_one_digit_changed_is_none(kept: Checkpoints, store: Store) -> None:
    place = f"checkpoints/work/20/{MANIFEST}"
    store.write_bytes(place, store.read_bytes(place).replace(b"0.5", b"0.6"))
    assert kept.newest() is None


@pytest.mark.parametrize("beneath", [True, False])
def test_a_storage_that_is_gone_stops_the_training(beneath: bool, tmp_path: Path) -> None:
    """Nothing could be kept at its end either; other storage that fails costs one checkpoint."""
    store = open_store(str(tmp_path / "store"))
    checkpoints = Checkpoints(Keeper(store, "work"), Group())
    assert checkpoints.save(5, FACTS, SHARED, OWN)
    os.rename(store.root, tmp_path / "away")
    if beneath:
        os.mkdir(store.root)
    with pytest.raises(OtherStore, match="sees no store"):
        checkpoints.save(20, FACTS, SHARED, OWN)
    assert not list(Path(store.root).rglob("*"))
    if beneath:
        os.rmdir(store.root)
    os.rename(tmp_path / "away", store.root)
    assert steps(store) == {"5"}
    assert checkpoints.save(20, FACTS, SHARED, OWN)
    assert steps(store) == {"20"}


@pytest.mark.parametrize("part", ["shared", "0"])
def test_a_pipe_or_folder_in_the_place_of_tensors_is_no_checkpoint(tmp_path: Path, part: str) -> None:
    store = Store(str(tmp_path / "store"))
    checkpoints = Checkpoints(Keeper(store, "work"), Group())
    for replace_by in (os.mkfifo, os.mkdir):
        assert checkpoints.save(20, FACTS, SHARED, OWN)
        (file,) = tmp_path.glob(f"store/checkpoints/work/20/*-{part}.safetensors")
        file.unlink()
        replace_by(file)
        assert checkpoints.newest() is None
        store.remove("checkpoints/work")
