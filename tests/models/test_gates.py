"""A gated checkpoint without a token is told before anything starts, with the page to visit."""

from pathlib import Path

import pytest

from flare_ray.models import _gates
from flare_ray.plan.checkpoints import known_models
from flare_ray.plan.schema import ModelSpec


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "tokens"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def model(name: str, **changes: str) -> ModelSpec:
    return ModelSpec(name=name, **{**known_models()[name], **changes})


def test_a_gated_checkpoint_without_a_token_names_the_page() -> None:
    found = _gates.gate_problems([model("xlm-r-large"), model("llama-3.1-8b"), model("gemma-2-9b")])
    assert [problem.where for problem in found] == ["models[1]", "models[2]"]
    assert "https://huggingface.co/meta-llama/Llama-3.1-8B" in found[0].wanted


def test_a_token_or_a_local_folder_opens_the_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert _gates.gate_problems([model("llama-3.1-8b", checkpoint=str(tmp_path))]) == []
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert _gates.gate_problems([model("llama-3.1-8b")]) == []
