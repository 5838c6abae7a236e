"""Checkpoints that are pickles: weights are read, what else is in them is not run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray import registry
from flare_ray.plan.schema import ModelSpec
from flare_ray.preflight.sweep import model_findings


class Trap:
    """A pickle of it makes a file when it is read without care."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def pickled(small_sandbox: Path, tmp_path: Path) -> Path:
    """A real checkpoint with PyTorch's file in the place of safetensors."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = small_sandbox / "models" / "sandbox-xlm-r"
    folder = tmp_path / "checkpoint"
    model = AutoModelForSequenceClassification.from_pretrained(source)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def load(folder: Path) -> Any:
    family = registry.load("models", "xlm_roberta")
    return family.load(str(folder), family.form("classification"), 2, torch.float32)


def test_a_trap_among_the_weights_is_refused_and_not_sprung(pickled: Path, tmp_path: Path) -> None:
    assert load(pickled) is not None, "the same without a trap is read"
    sprung = tmp_path / "sprung"
    torch.save({"weight": torch.ones(1), "trap": Trap(sprung)}, pickled / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights_only|unpickl"):
        load(pickled)
    assert not sprung.exists()


def test_the_trap_works_where_nothing_keeps_it(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


def test_the_environment_does_not_open_it_again(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    test_a_trap_among_the_weights_is_refused_and_not_sprung(pickled, tmp_path)


def test_code_beside_a_checkpoint_is_not_run(pickled: Path, tmp_path: Path) -> None:
    import json

    sprung = tmp_path / "sprung"
    (pickled / "modeling_trap.py").write_text(f"import os\nos.mkdir({str(sprung)!r})\n")
    config = json.loads((pickled / "config.json").read_text())
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
    config["auto_map"] = dict.fromkeys(names, "modeling_trap.Trap")
    (pickled / "config.json").write_text(json.dumps(config))
    load(pickled)
    assert not sprung.exists()


def test_it_is_told_before_anything_starts(pickled: Path, small_sandbox: Path) -> None:
    safe = str(small_sandbox / "models" / "sandbox-xlm-r")
    models = [ModelSpec(name="old", family="xlm_roberta", checkpoint=str(pickled))]
    models.append(ModelSpec(name="new", family="xlm_roberta", checkpoint=safe))
    (found,) = model_findings(models)
    assert (found.what, found.state) == ("old", "warning")
    assert "safetensors" in found.remedy
