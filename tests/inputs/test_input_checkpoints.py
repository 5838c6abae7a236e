"""A wrong checkpoint folder is refused before anything is trained with it, and the error names what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_study import write_csv, write_study, write_sweep, write_tokenizer
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.inputs.checkpoints import TOKENIZER_FILES
from flare_ray.inputs.positions import positions_of
from flare_ray.study import Study


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    return write_study(tmp_path)


@pytest.fixture
def planned(tmp_path: Path, fields: dict[str, Any]) -> Callable[..., tuple[int, str]]:
    def plan(**changes: Any) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["plan", str(write_sweep(tmp_path / "sweep.yaml", fields | changes))])
        return done.exit_code, done.output + done.stderr

    return plan


def index(folder: Path) -> None:
    """Two shards, of which one is there."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"weight": "model-00001-of-00002.safetensors", "other": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(
        json.dumps({"model_type": "xlm-roberta", **values})
    )


def gone(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def content(name: str, value: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(value)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2\n"
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no tokenizer": (gone(*TOKENIZER_FILES), "without a tokenizer"),
    "a tokenizer that is none": (content("tokenizer.json", b"{}"), "tokenizer of tiny"),
    "larger than the embeddings": (config(vocab_size=20), "embeddings for 20"),
    "another model's tokenizer": (config(vocab_size=250_002), "embeddings for 250,002"),
    "no weights": (gone("model.safetensors"), "without weights"),
    "weights of another kind": (
        lambda folder: (folder / "model.safetensors").rename(folder / "model.gguf"),
        "it has model.gguf",
    ),
    "a shard that is not there": (index, "without 1 of 2 shards, such as model-00002-of-00002.safetensors"),
    "an index that is none": (
        lambda folder: (index(folder), (folder / "model.safetensors.index.json").write_text("[]")),
        "model.safetensors.index.json",
    ),
    "weights cut short": (
        lambda folder: content("model.safetensors", (folder / "model.safetensors").read_bytes()[:-4])(folder),
        "bytes of",
    ),
    "no safetensors": (content("model.safetensors", b"\0" * 64), "no safetensors file"),
    "a pointer in place of the weights": (content("model.safetensors", POINTER), "git-LFS pointer"),
    "a pointer in place of the tokenizer": (content("tokenizer.json", POINTER), "git-LFS pointer"),
    "another family's model": (config(model_type="bert"), "family: bert"),
    "a decoder under an encoder's family": (config(model_type="llama"), "family: llama"),
    "fewer positions than max_length": (config(max_position_embeddings=66), "positions for 64"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_checkpoint_is_an_error_of_the_plan(
    fault: str, planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    assert planned()[0] == 0
    damage, named = FAULTS[fault]
    damage(tmp_path / "checkpoint")
    code, output = planned()
    assert code == 2, output
    assert named in " ".join(output.split())


def test_a_model_type_of_no_family_is_a_warning(
    planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    config(model_type="electra")(tmp_path / "checkpoint")
    code, output = planned()
    assert code == 0
    assert "warning: models[0].family: found xlm_roberta;" in output


@pytest.mark.parametrize(
    ("letters", "code", "named"),
    [
        ("abc", 2, "of the tokens of the eng nusax train split are unknown to tiny's tokenizer"),
        ("abcdefghijklmnopqrstuvwxy 0123456789_z", 0, None),
        ("abcdefghijklmnopqrstuvxyz 0123456789", 0, "unknown tokens: found tiny on nusax: eng train 9."),
    ],
)
def test_the_share_of_unknown_tokens_decides(
    letters: str,
    code: int,
    named: str | None,
    planned: Callable[..., tuple[int, str]],
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path / "checkpoint", letters)
    found, output = planned()
    assert found == code, output
    assert (named in output) if named else "unknown tokens" not in output


def test_a_script_that_the_tokenizer_does_not_know_is_named_by_language(
    planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    rows = [
        (number, "ᬩᬳᬲ ᬩᬮᬶ" * 3, ("negative", "neutral", "positive")[number % 3]) for number in range(9, 12)
    ]
    write_csv(tmp_path / "data" / "acehnese" / "test.csv", rows)
    code, output = planned()
    assert code == 2
    assert "the ace nusax test split are unknown" in output
    assert "jav" not in output


def test_what_was_checked_is_remembered_and_seen_again_when_it_changes(
    planned: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned()[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("flare_ray.inputs.unknown_tokens.load_tokenizer_of", None)  # loads nothing
        assert planned()[0] == 0
    write_tokenizer(tmp_path / "checkpoint", "abc")
    assert planned()[0] == 2


def test_reading_results_looks_at_no_checkpoint(fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"")
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    assert len(Study.open(file, to_execute=False).grid.runs) == 28


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "llama", "max_position_embeddings": 131072}, 131072),
        ({"model_type": "mt5", "max_position_embeddings": 512}, None),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "bert", "max_position_embeddings": "many"}, None),
    ],
)
def test_positions_are_those_that_a_text_can_have(values: dict[str, Any], tokens: int | None) -> None:
    assert positions_of(values) == tokens


def test_an_input_of_two_texts_beyond_the_positions_is_a_warning(
    planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    config(max_position_embeddings=202)(tmp_path / "checkpoint")
    assert "warning" not in planned()[1]
    code, output = planned(methods=["lora", "input_fusion"])
    assert code == 0
    assert "input_fusion joins two texts of 128 tokens" in output


def test_sharded_and_pickled_weights_are_weights(
    planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    index(folder)
    save_file({"other": np.zeros(2, np.float32)}, folder / "model-00002-of-00002.safetensors")
    assert planned()[0] == 0
    gone(*(file.name for file in folder.glob("model*")))(folder)
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    assert planned()[0] == 0
