"""What a worker says of a checkpoint that is no whole model: wrong input, which no later attempt mends."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from flare_ray.errors import InputError
from flare_ray.execution.retries import kind_of
from flare_ray.loading import _refusing, code_problems, load_model, load_tokenizer


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def empty_config(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def change_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2 * config["hidden_size"]}))


def unknown_class(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "none-such"}))


def wrong_field(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": "x"}))


@pytest.mark.parametrize(
    "damage",
    [
        remove_weights,
        cut_weights,
        remove_config,
        cut_config,
        empty_config,
        change_width,
        unknown_class,
        wrong_field,
    ],
)
def test_a_folder_that_is_no_whole_model_is_wrong_input(
    damage: Callable[[Path], None], small_sandbox: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(small_sandbox / "models" / "sandbox-xlm-r", folder)
    damage(folder)
    with pytest.raises(InputError) as caught:
        load_model("AutoModelForSequenceClassification", pretrained_model_name_or_path=str(folder))
    assert kind_of(caught.value) == "input"
    assert str(folder) in caught.value.problems[0].found
    assert code_problems(folder, "models[0].checkpoint") == []


@pytest.mark.parametrize("content", ["[]", '{"early_stopping": "x"}', '{"num_return_sequences": 4}'])
def test_a_generation_config_that_transformers_refuses_is_wrong_input(
    content: str, small_sandbox: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(small_sandbox / "models" / "sandbox-llama", folder)
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(InputError) as caught:
        load_model("AutoModelForCausalLM", pretrained_model_name_or_path=str(folder))
    assert kind_of(caught.value) == "input"


def test_a_tokenizer_that_cannot_be_read_is_wrong_input(small_sandbox: Path, tmp_path: Path) -> None:
    shutil.copytree(small_sandbox / "models" / "sandbox-xlm-r", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "tokenizer.json").write_text("{")
    with pytest.raises(InputError) as caught:
        load_tokenizer(pretrained_model_name_or_path=str(tmp_path / "checkpoint"))
    assert kind_of(caught.value) == "input"


def failing(error: Exception) -> Callable[[], None]:
    """A loader that fails as transformers does, which hides the hub's error behind one of its own."""

    def load() -> None:
        raise OSError("a message of transformers") from error

    return load


def test_what_the_hub_does_not_have_is_wrong_input_and_a_hub_that_does_not_answer_is_io() -> None:
    absent = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    with pytest.raises(InputError) as caught:
        _refusing("org/none-such", failing(absent))
    assert kind_of(caught.value) == "input"
    with pytest.raises(OSError, match="a message") as unreachable:
        _refusing("org/none-such", failing(LocalEntryNotFoundError("no connection")))
    assert kind_of(unreachable.value) == "io"


def test_a_disk_that_fails_is_io_and_tried_again(tmp_path: Path) -> None:
    def load() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output") as caught:
        _refusing(str(tmp_path), load)
    assert kind_of(caught.value) == "io"
