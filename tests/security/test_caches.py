"""What lies in this machine's cache is checked before it is read; what is damaged is made again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flare_ray.checked_cache import discard, is_sealed, is_whole, seal
from flare_ray.plan import checkpoints
from flare_ray.sandbox import build
from flare_ray.tasks import _sandbox
from flare_ray.tasks._sandbox import built_sandbox


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_sandbox, "_checked", set())
    return tmp_path / "cache"


def fill(folder: Path, text: str = "a") -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "world.json").write_text(text)
    (folder / "models" / "model.safetensors").write_bytes(text.encode() * 2_000_000)
    return folder


def _keeping_times(file: Path, content: bytes) -> None:
    facts = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _flip(folder: Path) -> None:
    file = folder / "models" / "model.safetensors"
    _keeping_times(file, b"b" + file.read_bytes()[1:])


def _link(folder: Path) -> None:
    shutil.move(folder / "world.json", folder.parent / "elsewhere")
    (folder / "world.json").symlink_to(folder.parent / "elsewhere")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit": _flip,
    "cut": lambda folder: os.truncate(folder / "models" / "model.safetensors", 40_000),
    "empty": lambda folder: os.truncate(folder / "world.json", 0),
    "gone": lambda folder: (folder / "world.json").unlink(),
    "one more": lambda folder: (folder / "models" / "tokenizer.json").write_text("{}"),
    "a link": _link,
    "sums cut": lambda folder: os.truncate(folder.with_name(f"{folder.name}.checksums.json"), 20),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_noticed(cache: Path, damage: str) -> None:
    folder = fill(cache / "entry")
    seal(folder)
    assert is_whole(folder)
    assert is_whole(folder)
    DAMAGES[damage](folder)
    assert not is_whole(folder)
    discard(folder)
    assert not folder.exists()
    assert not folder.is_symlink()
    assert not is_sealed(folder)
    discard(folder)


def test_a_folder_may_be_a_link_to_another_disk(cache: Path, tmp_path: Path) -> None:
    folder = fill(cache / "entry")
    seal(folder)
    moved = folder.rename(tmp_path / "another disk")
    folder.symlink_to(moved)
    assert is_whole(folder)
    _flip(moved)
    assert not is_whole(folder)
    discard(folder)
    assert not folder.is_symlink()
    assert moved.is_dir(), "what a link leads to is not removed"


def test_a_folder_in_another_s_place_is_noticed(cache: Path) -> None:
    one, two = fill(cache / "one"), fill(cache / "two", "b")
    seal(one)
    seal(two)
    for place in (one, one.with_name("one.checksums.json")):
        other = place.with_name(place.name.replace("one", "two"))
        place.rename(cache / "free")
        other.rename(place)
        (cache / "free").rename(other)
    assert not is_whole(one)
    assert not is_whole(two)


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one != "sums cut"])
def test_a_damaged_sandbox_is_built_again(cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []

    def make(folder: Path, *_: object) -> None:
        builds.append(folder)
        (folder / "models").mkdir()
        (folder / "world.json").write_text("a")
        (folder / "models" / "model.safetensors").write_bytes(b"a" * 2_000_000)

    monkeypatch.setattr(build, "build", make)
    folder = built_sandbox(cache)
    assert built_sandbox(cache) == folder
    DAMAGES[damage](folder)
    _sandbox._checked.clear()  # as another process
    assert built_sandbox(cache) == folder
    assert (folder / "models" / "model.safetensors").read_bytes() == b"a" * 2_000_000
    assert len(builds) == 2
    _sandbox._checked.clear()
    assert built_sandbox(cache) == folder
    assert len(builds) == 2, "once"


def test_a_sandbox_that_is_there_already_is_kept_and_sealed(cache: Path) -> None:
    folder = fill(build.folder_of(cache))
    assert built_sandbox(cache) == folder
    assert is_whole(folder)


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "swapped", "a folder", "hash alone", "not ASCII"]
)
def test_a_remembered_hash_that_is_damaged_is_computed_again(
    cache: Path, tmp_path: Path, damage: str
) -> None:
    """It is a checkpoint's identity: a wrong one would be another study's."""
    files = [tmp_path / "one.bin", tmp_path / "two.bin"]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 2**21)
    right = [checkpoints.files_digest([file]) for file in files]
    one, two = sorted((cache / "digests").iterdir())
    text = one.read_text()
    if damage == "swapped":
        one.write_text(two.read_text())
        two.write_text(text)
    elif damage == "a folder":
        one.unlink()
        one.mkdir()
    else:
        flipped = ("1" if text[0] == "0" else "0") + text[1:]
        changed = {
            "cut": text[:10],
            "flipped": flipped,
            "empty": "",
            "hash alone": "0" * 32,
            "not ASCII": "é",
        }
        one.write_text(changed[damage])
    assert [checkpoints.files_digest([file]) for file in files] == right
    assert (cache / "digests" / one.name).read_text() == text, "and remembered again"


def test_a_changed_file_of_the_same_size_and_time_has_another_hash(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"a" * 2**21)
    before = checkpoints.files_digest([file])
    _keeping_times(file, b"b" * 2**21)
    assert checkpoints.files_digest([file]) != before


@pytest.mark.parametrize("damage", ["cut", "gone", "one more"])
def test_a_damaged_conversion_is_made_again(small_sandbox: Path, damage: str) -> None:
    pytest.importorskip("ctranslate2")
    from flare_ray.translation.backends.ctranslate2 import converted

    checkpoint = str(small_sandbox / "models" / "sandbox-nllb")
    folder = converted(checkpoint, "int8")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    if damage == "one more":
        (folder / "more.json").write_text("{}")
    elif damage == "gone":
        (folder / "config.json").unlink()
    else:
        os.truncate(folder / "model.bin", 100)
    assert converted(checkpoint, "int8") == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert is_whole(folder)
