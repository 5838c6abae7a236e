"""Laws of the built sandbox: whole or not at all, once, the same bytes each time, loadable by the Auto classes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flare_ray.cache import cache_folder
from flare_ray.sandbox import build, children, world

BUILD = [sys.executable, "-m", "flare_ray.sandbox", "--small", "--cache"]


def contents(folder: Path) -> dict[str, str]:
    """The digest of each file: two folders that differ are told apart by name, in one line each."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)
    }


def test_layout(small):
    assert small.name == f"sandbox-{world.VERSION}-small"
    assert sorted(path.name for path in small.iterdir()) == ["data", "models", "world.json"]
    assert sorted(path.name for path in (small / "data").iterdir()) == sorted(world.TASKS)
    for name in world.folders():
        for split in ("train", "valid", "test"):
            assert (small / "data" / "nusax" / name / f"{split}.csv").is_file()
    for facts in (*world.MODELS.values(), *world.TRANSLATORS.values()):
        names = {path.name for path in (small / facts["folder"]).iterdir()}
        assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_world_json_tells_what_was_built(small):
    facts = json.loads((small / "world.json").read_text(encoding="utf-8"))
    assert facts["version"] == world.VERSION
    assert set(facts["languages"]) == set(world.LANGUAGES)
    assert set(facts["models"]) == {*world.MODELS, *world.TRANSLATORS}
    for model in facts["models"].values():
        assert model["training"]["loss_last"] < model["training"]["loss_first"]


def test_a_built_sandbox_is_returned_at_once(small):
    lines: list[str] = []
    started = time.perf_counter()
    assert build.ensure(small.parent, lines.append, small=True) == small
    assert time.perf_counter() - started < 0.1
    assert not lines


@pytest.mark.slow
def test_two_builds_are_equal_byte_for_byte_whatever_the_environment(small, tmp_path):
    """Another hash seed, another number of threads, and one model at a time."""
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    alone = BUILD if not hasattr(os, "sched_setaffinity") else ["taskset", "-c", "0", *BUILD]
    done = subprocess.run(
        [*alone, str(tmp_path)], check=True, capture_output=True, text=True, env=environment
    )
    other = Path(done.stdout.strip())
    assert contents(other) == contents(small)
    for name in (*world.MODELS, *world.TRANSLATORS):
        assert f"{name}: pretraining" in done.stderr


def test_one_model_is_equal_byte_for_byte(small, tmp_path):
    name = "sandbox-xlm-r"
    children.run([name], tmp_path, True, lambda line: None)
    ours = contents(tmp_path / "models" / name)
    assert ours == contents(small / "models" / name)


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


def test_a_failing_child_ends_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "cpus", lambda: 2)
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\ncase "$*" in *bad*) echo broken >&2; exit 3;; esac\nexec sleep 60\n')
    script.chmod(0o755)
    monkeypatch.setattr(children.sys, "executable", str(script))
    started = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3.*broken"):
        children.run(["good", "bad"], tmp_path, True, lambda line: None)
    assert time.perf_counter() - started < 10


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(children.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="building the sandbox failed"):
        build.ensure(tmp_path, small=True)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FLARE_RAY_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "flare_ray"
