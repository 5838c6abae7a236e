"""Laws of the built sandbox: whole or not at all, once, the same bytes each time, loadable by the Auto classes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flare_ray.cache import cache_folder
from flare_ray.sandbox import build, text, world
from flare_ray.sandbox.corpora import corpora, sentences

BUILD = [sys.executable, "-m", "flare_ray.sandbox", "--small", "--cache"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout(small):
    assert small.name == f"sandbox-{world.VERSION}-small"
    assert sorted(path.name for path in small.iterdir()) == ["data", "models", "world.json"]
    assert sorted(path.name for path in (small / "data").iterdir()) == sorted(world.TASKS)
    for name in world.folders():
        for split in ("train", "valid", "test"):
            assert (small / "data" / "nusax" / name / f"{split}.csv").is_file()
    for facts in world.MODELS.values():
        names = {path.name for path in (small / facts["folder"]).iterdir()}
        assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_world_json_tells_what_was_built(small):
    facts = json.loads((small / "world.json").read_text(encoding="utf-8"))
    assert facts["version"] == world.VERSION
    assert set(facts["languages"]) == set(world.LANGUAGES)
    training = facts["models"]["sandbox-xlm-r"]["training"]
    assert training["loss_last"] < training["loss_first"]


def test_a_built_sandbox_is_returned_at_once(small):
    lines: list[str] = []
    started = time.perf_counter()
    assert build.ensure(small.parent, lines.append, small=True) == small
    assert time.perf_counter() - started < 0.1
    assert not lines


def test_two_builds_are_equal_byte_for_byte_whatever_the_environment(small, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [*BUILD, str(tmp_path)], check=True, capture_output=True, text=True, env=environment
    )
    other = Path(done.stdout.strip())
    assert contents(other) == contents(small)
    assert "pretraining" in done.stderr


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_counts(tmp_path):
    child = subprocess.Popen(
        [*BUILD, str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "tokenizer" in line:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not build.folder_of(tmp_path, small=True).exists()
    assert build.ensure(tmp_path, small=True).is_dir()
    assert not list(tmp_path.glob("*.building-*"))


@pytest.mark.slow
def test_two_processes_build_once(tmp_path):
    children = [
        subprocess.Popen([*BUILD, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert len({folder for folder, _ in outputs}) == 1
    assert sum("pretraining" in progress for _, progress in outputs) == 1


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(build.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="building the sandbox failed"):
        build.ensure(tmp_path, small=True)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FLARE_RAY_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "flare_ray"


@pytest.fixture(scope="module")
def tokenizer(small):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small / world.MODELS["sandbox-xlm-r"]["folder"])


def test_the_tokenizer_is_xlm_robertas(tokenizer):
    assert type(tokenizer).__name__ == "XLMRobertaTokenizer"
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [0, 1, 2, 3, 4]
    pair = tokenizer("the soup", "was good").input_ids
    assert pair[0] == 0
    assert pair.count(2) == 3
    assert pair[-1] == 2


def test_the_tokenizer_round_trips_every_language(tokenizer):
    lines = text.lines(400, text.taboo(sentences(corpora(small=True))), seed="round trip")
    for line in lines:
        for part in (line.text, line.translation):
            if part:
                ids = tokenizer(part).input_ids
                assert tokenizer.unk_token_id not in ids
                assert tokenizer.decode(ids, skip_special_tokens=True) == part


def test_distant_languages_come_in_more_pieces(tokenizer):
    lines = text.lines(3000, text.taboo(()), seed="pieces")

    def pieces(name):
        own = [line.text for line in lines if line.folder == name and line.translation is None]
        return sum(len(tokenizer.tokenize(one)) for one in own) / sum(len(one.split()) for one in own)

    assert pieces(world.SOURCE) < pieces("qal") < pieces("qtu")


def test_the_model_loads_under_every_head(small):
    from transformers import (
        AutoModelForMaskedLM,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
    )

    folder = small / world.MODELS["sandbox-xlm-r"]["folder"]
    model, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == "XLMRobertaForMaskedLM"
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for head in (AutoModelForSequenceClassification, AutoModelForQuestionAnswering):
        _, info = head.from_pretrained(folder, output_loading_info=True)
        assert all(key.startswith(("classifier.", "qa_outputs.")) for key in info["missing_keys"])
