"""`flare-ray cache`: it removes what can be made again, and neither what is in use nor what is not the cache's."""

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.preflight.here import here

HEX = "0123456789abcdef0123"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with an old entry of most kinds, 100 bytes each, beside files that are not its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FLARE_RAY_CACHE", str(folder))
    for name in (
        f"rows/{HEX}.{HEX}.arrow",
        f"digests/{HEX}",
        f"input-checks/{HEX}",
        "agreed-scores",
        f"source-states/{HEX}/states-00000.safetensors",
        f"translations/{HEX}.sqlite",
        f"ct2/{HEX}/model.bin",
        f"store/{HEX[:12]}/bases/{HEX}-{HEX[:8]}/model.safetensors",
        "sandbox-0a1b2c3d/data/nusax/english/train.csv",
        "rows/mine.csv",
        "notes.txt",
        "mounts/0a1b2c3d4e5f6a7b.json",
        "mlflow/mine/mlflow.db",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (0, 0))
    return folder


@pytest.fixture
def user(cache: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of this package with that cache."""
    code = "import sys, time; print('flare_ray is here', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def call(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["cache", *words, "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.output))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


STAYS = {"rows/mine.csv", "notes.txt", "mounts/0a1b2c3d4e5f6a7b.json", "mlflow/mine/mlflow.db"}
SANDBOX = "sandbox-0a1b2c3d/data/nusax/english/train.csv"


def test_all_but_the_sandbox_goes_and_its_bytes_are_said(cache: Path) -> None:
    before = files(cache)
    assert call("clean", "--dry-run")["bytes"] == 800
    assert files(cache) == before
    assert call("clean")["bytes"] == 800
    assert files(cache) == {*STAYS, SANDBOX}
    assert call("clean")["bytes"] == 0
    assert call("clean", "--all")["bytes"] == 100
    assert files(cache) == STAYS


def test_one_kind_alone(cache: Path) -> None:
    before = files(cache)
    assert call("clean", "--kind", "rows")["bytes"] == 100
    assert before - files(cache) == {f"rows/{HEX}.{HEX}.arrow"}
    assert CliRunner().invoke(app, ["cache", "clean", "--kind", "row"]).exit_code == 2


def test_what_is_not_the_caches_is_named(cache: Path) -> None:
    assert call("ls")["foreign"] == [str(cache / "notes.txt"), str(cache / "rows" / "mine.csv")]


@pytest.mark.parametrize("place", ["other", "home", "above home"])
def test_a_folder_that_is_no_cache_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "up" / "home"
    folder = {"other": tmp_path / "data", "home": home, "above home": tmp_path / "up"}[place]
    file = folder / ("thesis.tex" if place == "other" else f"rows/{HEX}.{HEX}.arrow")
    file.parent.mkdir(parents=True)
    home.mkdir(parents=True, exist_ok=True)
    file.write_text("years of work")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FLARE_RAY_CACHE", str(folder))
    done = CliRunner().invoke(app, ["cache", "clean", "--all"])
    assert done.exit_code == 2
    assert "FLARE_RAY_CACHE" in done.output
    assert file.read_text() == "years of work"


@pytest.mark.parametrize("command", ["ls", "clean"])
def test_a_storage_or_a_file_is_no_cache(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "results"
    kept = storage / "translations" / f"{HEX}.sqlite"
    kept.parent.mkdir(parents=True)
    kept.write_text("translations")
    (storage / ".store").write_text(HEX)
    for folder, name in ((storage, "storage"), (kept, "file")):
        monkeypatch.setenv("FLARE_RAY_CACHE", str(folder))
        done = CliRunner().invoke(app, ["cache", command])
        assert done.exit_code == 2
        assert name in done.output
    assert kept.read_text() == "translations"


def test_a_cache_that_was_never_made_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "absent"))
    assert call("clean")["bytes"] == 0
    assert call("ls")["kinds"] == []


def test_links_are_removed_and_what_they_lead_to_is_not(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_text("mine")
    (cache / "source-states" / f"{HEX}ff").symlink_to(tmp_path / "elsewhere")
    call("clean")
    assert not (cache / "source-states" / f"{HEX}ff").is_symlink()
    assert (tmp_path / "elsewhere" / "data").read_text() == "mine"


def test_what_a_process_has_mapped_stays(cache: Path) -> None:
    file = cache / "rows" / f"{HEX}.{HEX}.arrow"
    with file.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    kept = call("clean")["kept"]
    assert kept == {str(file): "a process has it open"}
    assert file.exists()
    mapped.close()
    call("clean")
    assert not file.exists()


def test_what_a_running_sweep_may_open_stays(cache: Path, user: subprocess.Popen[str]) -> None:
    young = cache / "rows" / f"{HEX}.{HEX}.arrow"
    os.utime(young, (time.time(), time.time()))
    kept = call("clean", "--all")["kept"]
    assert isinstance(kept, dict)
    assert set(kept) == {
        str(young),
        str(cache / "store" / HEX[:12]),
        str(cache / "ct2" / HEX),
        str(cache / "sandbox-0a1b2c3d"),
    }
    assert all(f"process {user.pid}" in str(why) for why in kept.values())
    assert not (cache / "source-states" / HEX).exists()
    user.kill()
    user.wait()
    call("clean", "--all")
    assert files(cache) == STAYS


def test_doctor_and_store_ls_say_how_large_it_is(cache: Path) -> None:
    (finding,) = (one for one in here() if one.what == "size of the cache")
    assert "0.0 GB" in str(finding)
    assert str(cache) in str(finding)
    done = CliRunner().invoke(app, ["store", "ls", "--cache", "--json"])
    assert done.exit_code == 0, done.output
    assert {row["kind"]: row["bytes"] for row in json.loads(done.output)["kinds"]}["rows"] == 100
