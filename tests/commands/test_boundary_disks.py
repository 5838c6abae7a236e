"""Commands on real disks that are full, read-only, or closed to this account."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from small_study import write_csv

from flare_ray.store import Store
from tests.commands.boundary import call, program

READING = [
    ("plan", "FILE"),
    ("plan", "FILE", "--json"),
    ("report", "FILE"),
    ("report", "FILE", "--out", "OUT"),
    ("diff", "FILE", "FILE"),
    ("store", "ls", "--sweep", "FILE", "--long"),
    ("store", "verify", "--sweep", "FILE"),
    ("store", "gc", "STORE"),
    ("store", "gc", "--sweep", "FILE", "--json"),
]
EVERY = [*READING, ("run", "FILE"), ("sync", "FILE"), ("doctor", "FILE")]


def words(command: tuple[str, ...], file: Path) -> list[str]:
    """A command with its files. OUT: a folder that is not there yet."""
    store = yaml.safe_load(file.read_text())["storage"]
    given = {"FILE": str(file), "STORE": store, "OUT": str(file.parent / "out")}
    return [given.get(word, word) for word in command]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def set_modes(folder: Path, folders: int, files: int) -> None:
    for top, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.chmod(os.path.join(top, name), files)
        os.chmod(top, folders)


@pytest.fixture
def moved(study: Path, tmp_path: Path, disk: Callable[[str], Path]) -> Callable[[str], Path]:
    """Moves the study's storage to a disk of its own, mounted so."""

    def move(options: str) -> Path:
        place = disk(options)
        fields = yaml.safe_load(study.read_text())
        shutil.copytree(fields["storage"], place / "results")
        study.write_text(yaml.safe_dump(fields | {"storage": str(place / "results")}))
        return place

    return move


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_store_that_is_mounted_to_be_read_is_read(
    command: tuple[str, ...], study: Path, moved: Callable[[str], Path]
) -> None:
    place = moved("size=8m")
    (place / "results" / "leases").mkdir()
    before = contents(place)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    done = call(*words(command, study))
    assert (done.exit_code, done.stderr) == (0, "")
    assert contents(place) == before
    if command == ("report", "FILE"):
        assert "not written" in done.stdout
        assert "--out" in done.stdout
        assert "zero_shot" in done.stdout, "the tables are printed all the same"


@pytest.mark.parametrize("command", READING, ids=" ".join)
@pytest.mark.usefixtures("unprivileged")
def test_a_store_of_another_account_is_read(command: tuple[str, ...], study: Path) -> None:
    store = study.parent / "results"
    set_modes(store, 0o555, 0o444)
    before = contents(store)
    try:
        done = call(*words(command, study))
        assert (done.exit_code, done.stderr) == (0, "")
        assert contents(store) == before
    finally:
        set_modes(store, 0o755, 0o644)


@pytest.mark.parametrize("command", [("run", "FILE"), ("sync", "FILE"), ("doctor", "FILE")], ids=" ".join)
@pytest.mark.usefixtures("unprivileged")
def test_what_must_write_into_it_names_it(command: tuple[str, ...], study: Path) -> None:
    store = study.parent / "results"
    set_modes(store, 0o555, 0o444)
    try:
        done = call(*words(command, study))
        assert done.exit_code == 2
        assert isinstance(done.exception, SystemExit)
        assert str(store) in done.output
        assert "ermission" in done.output or "cannot be written" in done.output
    finally:
        set_modes(store, 0o755, 0o644)


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
@pytest.mark.parametrize("place", ["sweep.yaml", "results", "results/runs", "data", "checkpoint"])
@pytest.mark.usefixtures("unprivileged")
def test_what_may_not_be_read_is_named(command: tuple[str, ...], place: str, study: Path) -> None:
    """Where a command needs it; none ends with a traceback, and none takes work for missing."""
    closed = study.parent / place
    given = words(command, study)
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        done = call(*given)
        assert done.exit_code in ((0, 2) if command == ("store", "gc", "STORE") else (2,))
        assert isinstance(done.exception, SystemExit) or done.exit_code == 0
        if done.exit_code:
            assert str(closed) in done.output.replace("\n", "")
    finally:
        closed.chmod(mode)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(one, marks=[pytest.mark.slow] if one[0] in ("run", "sync") else [])  # MLflow's database
        for one in EVERY
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("unprivileged")
def test_a_cache_that_cannot_be_made(
    command: tuple[str, ...], study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading needs none; doctor names it with the setting; a sweep that is finished needs none either."""
    (tmp_path / "closed").mkdir(mode=0o555)
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "closed" / "cache"))
    done = call(*words(command, study))
    assert done.exit_code == (2 if command[0] == "doctor" else 0), done.output
    assert not list((tmp_path / "closed").iterdir())
    if command[0] == "doctor":
        assert f"cache: {tmp_path / 'closed' / 'cache'} cannot be written" in done.stdout
        assert "FLARE_RAY_CACHE" in done.stdout


@pytest.mark.usefixtures("unprivileged")
def test_a_sweep_with_work_to_do_wants_a_cache_before_ray_is_started(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "closed" / "cache"))
    monkeypatch.setattr("flare_ray.execution.cluster.connect", lambda: pytest.fail("Ray was started"))
    done = call("run", study, "--set", "seeds=[77]")
    assert done.exit_code == 2
    assert str(tmp_path / "closed" / "cache") in done.stderr
    assert "FLARE_RAY_CACHE" in done.stderr


def test_an_account_without_a_home(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's: no HOME, and no such user."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("FLARE_RAY_CACHE")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for command in READING:
        done = call(*words(command, study))
        assert done.exit_code == 0, done.output
    assert not Path("~").exists()
    done = call("doctor", study)
    assert done.exit_code == 2
    assert "FLARE_RAY_CACHE: a folder that can be written, or HOME" in done.stdout
    assert "RAY_AUTH_TOKEN_PATH" in done.stdout
    monkeypatch.setattr("flare_ray.execution.cluster.connect", lambda: pytest.fail("Ray was started"))
    done = call("run", study, "--set", "seeds=[77]")
    assert done.exit_code == 2
    assert "FLARE_RAY_CACHE" in done.stderr


@pytest.mark.usefixtures("unprivileged")
def test_a_home_in_which_ray_cannot_keep_its_token(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir(mode=0o555)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    done = call("doctor")
    assert done.exit_code == 2
    assert f"ray's token: {tmp_path / 'home' / '.ray' / 'auth_token'} cannot be made" in done.stdout
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert "ray's token" not in call("doctor").stdout


def test_the_same_numbers_with_and_without_a_cache(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fingerprints do not depend on where, or whether, rows and digests are remembered."""
    large = tmp_path / "checkpoint" / "model.safetensors"
    large.write_bytes(bytes(range(256)) * 8192)  # above the size from which a digest is remembered
    plans = []
    for cache in ("cache", "cache", "taken/cache"):
        (tmp_path / "taken").write_text("")
        monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / cache))
        plans.append(call("plan", study, "--json").stdout)
    assert len(set(plans)) == 1
    (digest,) = (tmp_path / "cache" / "digests").iterdir()
    digest.write_text("")  # what a machine that went down leaves
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    assert call("plan", study, "--json").stdout == plans[0]


def fill_up(place: Path) -> None:
    """Leaves no space on a disk."""
    with (place / "ballast").open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)):
            continue


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_full_store_is_read(command: tuple[str, ...], study: Path, moved: Callable[[str], Path]) -> None:
    fill_up(moved("size=2m,nr_inodes=800"))
    done = call(*words(command, study))
    if command == ("report", "FILE"):  # it writes there
        assert done.exit_code == 75
        assert "bytes are free there" in done.stderr
        assert "zero_shot" in done.stdout
    else:
        assert (done.exit_code, done.stderr) == (0, "")


def test_a_sweep_in_a_full_store_may_go_on_later(study: Path, moved: Callable[[str], Path]) -> None:
    place = moved("size=2m,nr_inodes=800")
    fill_up(place)
    done = call("run", study)
    assert done.exit_code == 75, done.output
    assert "space" in done.stderr or "full" in done.stderr
    assert not list((place / "results" / "runs").rglob("*.unfinished"))


def test_a_report_that_does_not_fit_names_its_file(study: Path, disk: Callable[[str], Path]) -> None:
    place = disk("size=16k")
    done = call("report", study, "--out", place / "out")
    assert done.exit_code == 75
    assert str(place / "out") in done.stderr
    assert "free space" in done.stderr


@pytest.mark.parametrize("out", ["file", "file/out", "closed", "closed/out", "loop", "n" * 300])
@pytest.mark.parametrize("command", ["report", "diff"])
@pytest.mark.usefixtures("unprivileged")
def test_an_out_folder_that_cannot_be_written_is_named_before_anything_is_computed(
    command: str, out: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr("flare_ray.report.build.build", lambda *_: pytest.fail("computed"))
    done = call(command, study, *([study] if command == "diff" else []), "--out", tmp_path / out)
    assert done.exit_code == 2
    assert f"--out: found {tmp_path / out}" in done.stderr
    assert "a folder to write to" in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("kind", ["folder", "missing", "closed", "latin1"])
@pytest.mark.parametrize(
    "command", [("plan",), ("run",), ("report",), ("doctor",), ("sync",), ("ui",), ("submit",)]
)
@pytest.mark.usefixtures("unprivileged")
def test_a_sweep_file_that_is_none(kind: str, command: tuple[str, ...], study: Path, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "closed":
        shutil.copy(study, file)
        file.chmod(0)
    elif kind == "latin1":
        file.write_bytes("name: Präsens\n".encode("latin-1"))
    done = call(*command, file)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert file.name in done.output.replace("\n", "") or "FILE: " in done.output


@pytest.mark.parametrize(
    "kind", ["folder", "missing", "closed", "latin1", "nul", "torn.parquet", "torn.jsonl"]
)
@pytest.mark.usefixtures("unprivileged")
def test_a_table_to_translate_that_cannot_be_read(kind: str, study: Path, tmp_path: Path) -> None:
    file = tmp_path / (kind if "." in kind else f"{kind}.csv")
    if kind == "folder":
        file.mkdir()
    elif kind == "closed":
        write_csv(file, [(1, "words")], ("id", "text")).chmod(0)
    elif kind != "missing":
        file.write_bytes({"latin1": "id,text\n1,Präsens\n".encode("latin-1")}.get(kind, b"\0{[PAR1"))
    done = call("translate", file, "--column", "text", "--to", "ace", "--storage", tmp_path / "store")
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert file.name in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("out", ["file.csv/out.csv", "closed/out.csv", "folder.csv", "none/out.csv"])
@pytest.mark.usefixtures("unprivileged")
def test_a_translated_table_that_cannot_be_written_is_named_before_it_is_made(
    out: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "file.csv", [(1, "words")], ("id", "text"))
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.setattr("flare_ray.translate.connect", lambda: pytest.fail("Ray was started"))
    words = ("--column", "text", "--to", "ace", "--storage", tmp_path / "store", "--model", "sandbox-nllb")
    done = call("translate", tmp_path / "file.csv", *words, "--out", tmp_path / out)
    assert done.exit_code == 2
    assert "--out: found" in done.stderr
    assert str(tmp_path / out.split("/")[0]) in done.stderr
    assert not (tmp_path / "store").exists()


def test_rows_below_a_file_size_limit(study: Path) -> None:
    """RLIMIT_FSIZE: what a shell's `ulimit -f` sets."""
    done = program(
        "report",
        study,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert done.returncode == 2, done.stderr
    assert b"ulimit -f" in done.stderr
    assert b"report.md" in done.stderr
    assert b"Traceback" not in done.stderr


def test_gc_asks_the_storage_for_the_time_where_it_can(study: Path, tmp_path: Path) -> None:
    """And takes this machine's clock only where nothing can be written."""
    files = Store(str(tmp_path / "results")).files
    assert abs(files.now() - time.time()) < 5
    assert not list((tmp_path / "results" / ".unfinished").iterdir())
