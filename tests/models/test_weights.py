"""A checkpoint whose weights are another model's is refused: what it lacks would be random."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flare_ray import registry
from flare_ray.errors import InputError

CASES = {
    "sandbox-xlm-r": ("xlm_roberta", "classification"),
    "sandbox-mt5": ("mt5", "question_answering"),
    "sandbox-llama": ("llama", "classification"),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_of_other_names_are_refused_and_a_new_head_is_not(
    name: str, small_sandbox: Path, tmp_path: Path
) -> None:
    family_name, kind = CASES[name]
    family = registry.load("models", family_name)
    folder = Path(shutil.copytree(small_sandbox / "models" / name, tmp_path / "checkpoint"))
    form = family.form(kind)
    assert family.load(str(folder), form, 3, torch.float32) is not None
    weights = load_file(folder / "model.safetensors")
    renamed = {f"another.{key}": value for key, value in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="weights of"):
        family.load(str(folder), form, 3, torch.float32)


@pytest.mark.parametrize(
    ("name", "changes", "lacking"),
    [
        ("sandbox-xlm-r", {"num_hidden_layers": 4}, "encoder.layer.3"),
        ("sandbox-llama", {"tie_word_embeddings": False}, "lm_head.weight"),
    ],
)
def test_a_layer_or_embeddings_that_would_be_random_are_refused(
    name: str, changes: dict[str, Any], lacking: str, small_sandbox: Path, tmp_path: Path
) -> None:
    family_name, kind = CASES[name]
    family = registry.load("models", family_name)
    folder = Path(shutil.copytree(small_sandbox / "models" / name, tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_bytes())
    if "num_hidden_layers" in changes:
        changes = {"num_hidden_layers": config["num_hidden_layers"] + 1}
        lacking = f"encoder.layer.{config['num_hidden_layers']}"
    else:
        weights = load_file(folder / "model.safetensors")
        weights.pop("lm_head.weight", None)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match="weights of") as caught:
        family.load(str(folder), family.form(kind), 3, torch.float32)
    assert lacking in caught.value.problems[0].found
