"""A checkpoint whose weights are another model's is refused: what it lacks would be random."""

from __future__ import annotations

import shutil
from pathlib import Path

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
