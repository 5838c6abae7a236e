"""A wrong checkpoint folder is refused before anything is trained with it, and the error names what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_study import write_checkpoint, write_csv, write_study, write_sweep, write_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
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


def tensors(*names: str) -> Callable[[Path], None]:
    return lambda folder: save_file(
        {name: np.zeros((4, 2), np.float32) for name in names}, folder / "model.safetensors"
    )


def special(folder: Path, vocab_size: int, **names: str) -> None:
    """A token behind the vocabulary, as `add_tokens` makes one, under the name of a special token."""
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert file.get_vocab_size() == vocab_size
    file.add_special_tokens(list(names.values()))
    file.save(str(folder / "tokenizer.json"))
    kind = json.loads((folder / "tokenizer_config.json").read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps(kind | names))
    config(vocab_size=vocab_size)(folder)


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
    "a special token without an embedding": (
        lambda folder: special(folder, pad_token="<extra>", vocab_size=104),
        "pad_token with id 104; the model has embeddings for 104",
    ),
    "a configuration without model_type": (
        lambda folder: (folder / "config.json").write_text('{"vocab_size": 104}'),
        "without model_type",
    ),
    "a model_type that is no text": (config(model_type=["bert"]), "with model_type ['bert']"),
    "a model_type that transformers does not know": (config(model_type="none-such"), "does not know"),
    "a generation configuration that is none": (content("generation_config.json", b"[]"), "no JSON object"),
    "more layers than weights": (
        lambda folder: (tensors("encoder.layer.1.x.weight")(folder), config(num_hidden_layers=3)(folder)),
        "weights of 2 layers; config.json names 3",
    ),
    "embeddings of another vocabulary": (
        lambda folder: (tensors("word_embeddings.weight")(folder), config(vocab_size=104)(folder)),
        "word_embeddings.weight with 4 rows; config.json has vocab_size 104",
    ),
    "embeddings of another width": (
        lambda folder: (tensors("word_embeddings.weight")(folder), config(hidden_size=8)(folder)),
        "word_embeddings.weight with 2 columns; config.json has a width of 8",
    ),
    "pickles that are none": (
        lambda folder: (gone("model.safetensors")(folder), content("pytorch_model.bin", b"<html>")(folder)),
        "no weights that torch.save has written",
    ),
    "a padding token of another id": (
        config(pad_token_id=3),
        "pad_token with id 1; the model's pad_token_id is 3",
    ),
    "a decoder's tokenizer in place of the embeddings": (
        lambda folder: special(folder, eos_token="<extra>", vocab_size=104),
        "eos_token with id 104",
    ),
    "fewer positions than max_length in a model of several parts": (
        config(text_config={"max_position_embeddings": 66, "model_type": "xlm-roberta"}),
        "positions for 64",
    ),
    "a pointer of another suffix": (
        content("source.spm", b"version https://git-lfs.github.com/spec/v1"),
        "git-LFS pointer",
    ),
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
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 32768}}, 32768),
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


def test_a_script_that_is_read_as_bytes_is_a_warning(
    planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """A byte-level vocabulary knows every text and has no unknown tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: k for k, token in enumerate(["<s>", "<pad>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(tokens, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "checkpoint" / "tokenizer.json"))
    assert "as bytes" not in planned()[1]
    rows = [(k, "ᬩᬳᬲ ᬩᬮᬶ" * 3, ("negative", "neutral", "positive")[k % 3]) for k in range(9, 12)]
    write_csv(tmp_path / "data" / "acehnese" / "test.csv", rows)
    code, output = planned()
    assert code == 0
    assert "tokens: found tiny on nusax: ace test 3." in output


def test_a_tokenizer_without_end_tokens_is_an_error_under_mt5(
    planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    model = {"name": "tiny", "family": "mt5", "checkpoint": str(tmp_path / "checkpoint")}
    config(model_type="mt5", eos_token_id=2)(tmp_path / "checkpoint")
    code, output = planned(models=[model])
    assert code == 2
    assert "0 tokens with the id 2" in " ".join(output.split())
    file = tmp_path / "checkpoint" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 2)])
    tokenizer.save(str(file))
    assert planned(models=[model])[0] == 0


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (gone("model.safetensors"), "mt_model"),
        (config(model_type="marian", max_position_embeddings=100), "has positions for 100"),
        (config(model_type="m2m_100", max_position_embeddings=100), None),
    ],
)
def test_the_encoder_of_flare_mt_is_looked_at(
    damage: Callable[[Path], Any], named: str | None, planned: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "translator", "marian")
    methods = [{"name": "flare_mt", "mt_model": str(folder)}]
    assert planned(methods=methods)[0] == 0
    damage(folder)
    code, output = planned(methods=methods)
    assert code == (2 if named else 0), output
    assert named is None or named in " ".join(output.split())


def test_a_translation_longer_than_the_translator_has_positions_for_is_an_error(
    planned: Callable[..., tuple[int, str]],
) -> None:
    translation = {"model": "nllb-200-distilled-600m", "max_length": 1022}
    assert "translation.max_length" not in planned(translation=translation)[1]
    code, output = planned(translation=translation | {"max_length": 1023})
    assert code == 2
    assert "translation.max_length" in output
