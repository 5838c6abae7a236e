import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_study import write_study, write_sweep

import flare_ray
from flare_ray import registry


@pytest.mark.parametrize("kind", registry.EXPORTS)
def test_every_entry_loads_under_its_own_name(kind: str) -> None:
    names = registry.names(kind)
    assert names == sorted(names)
    assert names
    for name in names:
        entry = registry.load(kind, name)
        assert getattr(entry, "name", name) == name
        assert registry.load(kind, name) is entry


@pytest.mark.parametrize("kind", registry.EXPORTS)
def test_bases_and_private_files_are_no_entries(kind: str) -> None:
    assert not [name for name in registry.names(kind) if name == "base" or name.startswith("_")]
    with pytest.raises(registry.UnknownName):
        registry.load(kind, "base")


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("tasks", "nusa-x", "nusax"),
        ("methods", "LoRA", "lora"),
        ("methods", "zeroshot", "zero_shot"),
        ("models", "xlm-roberta", "xlm_roberta"),
        ("fusion.functions", "crossattention", "cross_attention"),
    ],
)
def test_an_unknown_name_answers_with_the_nearest_and_the_list(kind: str, name: str, nearest: str) -> None:
    with pytest.raises(registry.UnknownName) as caught:
        registry.load(kind, name)
    text = str(caught.value)
    assert repr(name) in text
    assert f"{nearest!r} (the nearest)" in text
    assert text.endswith("one of: " + ", ".join(registry.names(kind)))


def test_a_name_like_none_gets_the_list_alone() -> None:
    assert registry.wanted("qqqqqq", ["lora", "flare"]) == "one of: lora, flare"
    assert registry.wanted("lora", []) == "nothing is available"


METHOD = '''
from flare_ray.methods.base import Method
class Probe(Method):
    """Of this test."""
    name = "probe"
    setting = "zero-shot"
    trains = False
    def adapter(self, settings, family):
        return None
METHOD = Probe()
'''
TASK = '''
from flare_ray.tasks.nusax import NusaX
class Moods(NusaX):
    """Of this test."""
    name = "moods"
    languages = {"ace": "acehnese", "tlh": "klingon"}
TASK = Moods()
'''


def test_a_new_method_and_a_new_task_are_one_new_file_each(tmp_path: Path) -> None:
    """Also: a language that only one of two tasks has is planned there, and skipped with a reason elsewhere."""
    package = tmp_path / "code" / "flare_ray"
    shutil.copytree(Path(flare_ray.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "methods" / "probe.py").write_text(METHOD)
    (package / "tasks" / "moods.py").write_text(TASK)
    fields = write_study(tmp_path)
    shutil.copytree(tmp_path / "data", tmp_path / "moods")
    (tmp_path / "moods" / "javanese").rename(tmp_path / "moods" / "klingon")
    fields |= {"tasks": ["nusax", "moods"], "methods": ["probe"], "languages": ["ace", "tlh"], "seeds": [1]}
    fields["data"]["moods"] = str(tmp_path / "moods")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "flare_ray.sweep",
            str(write_sweep(tmp_path / "sweep.yaml", fields)),
            "--plan",
        ],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent), "FLARE_RAY_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "small: 3 cells, 3 runs" in done.stdout
    assert f"skipped: tiny/nusax/tlh: nusax has no tlh in {fields['data']['nusax']}" in done.stdout
    assert done.stdout.count("skipped") == 1
