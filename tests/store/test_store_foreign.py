"""gc touches what the store itself has made, and nothing else: not by name, not through links, not in mounts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from written import RECORD, contents, key

from flare_ray.errors import InputError
from flare_ray.store import Store
from flare_ray.store.garbage import Garbage, Needed, Removal, garbage, remove
from flare_ray.store.integrity import quarantine, verify
from flare_ray.store.inventory import Inventory

R1, R2, R9, TOKEN = key("r1"), key("r2"), key("r9"), key("token", 32)
FOREIGN = (
    "runs/exp1/events.out.tfevents.1",
    "runs/exp1/record.json",
    "ray/python/__init__.py",
    "checkpoints/mymodel/model.safetensors",
    "failures/notes.json",
    "failures/" + R1 + "/notes.json",
    "translations/nllb/x.txt",
    ".unfinished/draft.txt",
    ".unfinished/book/chapter.txt",
    "thesis.unfinished",
    "runs/exp1/thesis.unfinished",
    f"experiments/{R9}/model.bin",
    f"experiments/{R9}/model.bin.{TOKEN}.unfinished",
    f"deep/runs/{R9}/model.bin",
    "notes.txt",
)
OLD = time.time() - 10 * 3600


def age(folder: str) -> None:
    for top, folders, names in os.walk(folder):
        for name in (*folders, *names):
            os.utime(os.path.join(top, name), (OLD, OLD), follow_symlinks=False)


def tidy(store: Store) -> Removal:
    return remove(store, garbage(store, Inventory.of(store)))


@pytest.fixture
def filled(local: Store, files: Path) -> Store:
    """Two finished runs, and one left-over of each kind."""
    for run in (R1, R2):
        local.write("runs", run, RECORD, files)
        local.write_failure(run, {"error": "overtaken"})
        local.write_text(f"checkpoints/{run}/3/state.bin", "x")
    local.write_text(f"runs/{R9}/predictions.parquet", "half")
    local.write_text(f"runs/{R1}/x.bin.{TOKEN}.unfinished", "half")
    local.write_text(f".unfinished/{TOKEN}/record.json", "{}")
    local.write_text("ray/2026-01-01_00-00-00/tune/state.json", "x")
    age(local.root)
    return local


def test_what_is_not_the_stores_is_named_and_left(filled: Store, files: Path) -> None:
    for place in FOREIGN:
        path = Path(filled.root, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("of another tool")
    filled.files.remove(f"failures/{R1}.json")
    age(filled.root)
    before = contents(Path(filled.root))
    removal = tidy(filled)
    assert len(removal.removed) == 7
    assert (removal.stays, removal.failed) == ((), ())
    after = contents(Path(filled.root))
    assert {place for place in FOREIGN if after.get(place) == before[place]} == set(FOREIGN)
    assert {place for place in after if place.startswith(f"runs/{R2}/")}, "finished work stays"
    assert Inventory.of(filled).foreign == [
        ".unfinished/book",
        ".unfinished/draft.txt",
        "checkpoints/mymodel",
        "deep",
        "experiments",
        f"failures/{R1}",
        "failures/notes.json",
        "notes.txt",
        "ray/python",
        "runs/exp1",
        "thesis.unfinished",
        "translations/nllb",
    ]


@pytest.mark.parametrize(
    "place", [f"runs/{R9}", f"checkpoints/{R1}", f".unfinished/{TOKEN}", "checkpoints", "runs"]
)
def test_nothing_is_removed_through_a_link(place: str, filled: Store, tmp_path: Path) -> None:
    """A link in the place of an entry, or of a whole kind, to a folder that looks like the store's own."""
    elsewhere = tmp_path / "elsewhere"
    os.rename(filled.files.path(place), elsewhere)
    age(str(elsewhere))
    before = contents(elsewhere)
    os.symlink(elsewhere, filled.files.path(place))
    os.utime(filled.files.path(place), (OLD, OLD), follow_symlinks=False)
    tidy(filled)
    assert contents(elsewhere) == before
    assert os.path.islink(filled.files.path(place))
    assert place in Inventory.of(filled).foreign


def test_a_folder_behind_a_link_is_refused_whoever_asks(filled: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    os.rename(filled.files.path("checkpoints"), elsewhere)
    os.symlink(elsewhere, filled.files.path("checkpoints"))
    before = contents(elsewhere)
    for work in (
        lambda: filled.files.remove_folder(f"checkpoints/{R1}"),
        lambda: filled.files.remove(f"checkpoints/{R1}/3/state.bin"),
        lambda: filled.files.move_folder(f"checkpoints/{R1}", "quarantine/x"),
    ):
        with pytest.raises(OSError, match="link"):
            work()
    assert contents(elsewhere) == before


def test_links_and_pipes_inside_what_goes_are_not_followed(filled: Store, tmp_path: Path) -> None:
    """Neither is a pipe opened, which would wait for ever."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.bin").write_text("x")
    os.symlink(elsewhere, filled.files.path(f"runs/{R9}/adapter"))
    os.mkfifo(filled.files.path(f"failures/{R9}.json"))
    os.unlink(filled.files.path(f"failures/{R1}.json"))
    os.mkfifo(filled.files.path(f"failures/{R1}.json"))
    os.symlink(elsewhere, filled.files.path("ray/2026-01-01_00-00-00/latest"))
    age(filled.root)
    removal = tidy(filled)
    assert "ray/2026-01-01_00-00-00" in {one.place for one in removal.removed}
    assert (elsewhere / "precious.bin").exists()
    named = set(Inventory.of(filled).foreign)
    assert {f"runs/{R9}", f"failures/{R9}.json", f"failures/{R1}.json"} <= named
    assert os.path.lexists(filled.files.path(f"failures/{R1}.json"))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mounts a disk, or (bind) a folder of the same disk, at a folder; skips where that is not allowed."""
    mounted: list[str] = []

    def at(place: str, bind: str | None = None) -> None:
        what = ["--bind", bind] if bind else ["-t", "tmpfs", "tmpfs"]
        try:
            subprocess.run(["mount", *what, place], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("nothing can be mounted here")
        mounted.append(place)

    yield at
    for place in reversed(mounted):
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize(
    "place", [f"checkpoints/{R1}", f"checkpoints/{R1}/a b/deep", f".unfinished/{TOKEN}/in"]
)
def test_nothing_is_removed_out_of_a_mount(
    place: str, bind: bool, filled: Store, tmp_path: Path, mount: Callable[..., None]
) -> None:
    path = Path(filled.files.path(place))
    path.mkdir(parents=True, exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mount(str(path), str(elsewhere) if bind else None)
    (path / "precious.bin").write_text("x")
    age(filled.root)
    removal = tidy(filled)
    assert (path / "precious.bin").read_text() == "x"
    entry = "/".join(place.split("/")[:2])
    assert entry not in {one.place for one in removal.removed}
    assert entry in Inventory.of(filled).foreign
    with pytest.raises(OSError, match="mount point"):
        filled.files.remove_folder(entry)
    assert (path / "precious.bin").read_text() == "x"


def test_work_that_is_finished_after_the_listing_is_not_removed(filled: Store, files: Path) -> None:
    found = garbage(filled, Inventory.of(filled))
    assert f"runs/{R9}" in {one.place for one in found}
    filled.write("runs", R9, RECORD, files)
    removal = remove(filled, found)
    assert {one.place: why for one, why in removal.stays} == {f"runs/{R9}": "written meanwhile"}
    assert filled.record("runs", R9) == RECORD
    assert verify(filled).findings == ()


def test_work_that_is_finished_at_the_moment_of_removal_is_put_back(
    filled: Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look has seen an old half of it."""
    found = [one for one in garbage(filled, Inventory.of(filled)) if one.place == f"runs/{R9}"]
    rename = os.rename

    def late(source: str | Path, target: str | Path) -> None:
        if str(source) == filled.files.path(f"runs/{R9}"):
            monkeypatch.setattr(os, "rename", rename)
            filled.write("runs", R9, RECORD, files)
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    removal = remove(filled, found)
    assert [why for _, why in removal.stays] == ["finished meanwhile"]
    assert filled.record("runs", R9) == RECORD


def test_what_belongs_to_work_that_is_not_finished_any_more_stays(filled: Store) -> None:
    found = garbage(filled, Inventory.of(filled))
    filled.files.move_folder(f"runs/{R2}", "quarantine/runs/x")
    removal = remove(filled, found)
    assert {one.place for one, _ in removal.stays} == {f"failures/{R2}.json", f"checkpoints/{R2}"}
    assert filled.failure(R2) is not None


def test_what_cannot_be_removed_is_said_and_the_rest_goes(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_folder = filled.files.remove_folder

    def refuses(place: str, unless: str | None = None) -> bool:
        if place == f"checkpoints/{R1}":
            raise PermissionError(13, "Permission denied", place)
        return remove_folder(place, unless)

    monkeypatch.setattr(filled.files, "remove_folder", refuses)
    removal = tidy(filled)
    assert [(one.place, why) for one, why in removal.failed] == [
        (f"checkpoints/{R1}", f"Permission denied: checkpoints/{R1}")
    ]
    assert f"checkpoints/{R2}" in {one.place for one in removal.removed}


def test_repair_moves_nothing_that_is_not_the_stores(filled: Store, tmp_path: Path) -> None:
    for place in FOREIGN:
        path = Path(filled.root, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("of another tool, no JSON")
    before = contents(Path(filled.root))
    filled.write_text(f"runs/{R1}/record.json", "damaged")
    moved = quarantine(filled, verify(filled).findings)
    assert set(moved) == {f"runs/{R1}"}
    after = contents(Path(filled.root))
    assert {place for place in FOREIGN if after.get(place) == before[place]} == set(FOREIGN)


def test_links_in_the_place_of_work_are_damage(filled: Store, tmp_path: Path) -> None:
    """They count as finished for a reader, and nothing checks them: verify says so, repair moves the link alone."""
    one, two = tmp_path / "one", tmp_path / "two"
    os.rename(filled.files.path(f"runs/{R1}"), one)
    os.symlink(one, filled.files.path(f"runs/{R1}"))
    os.rename(filled.files.path(f"runs/{R2}/predictions.parquet"), two)
    os.symlink(two, filled.files.path(f"runs/{R2}/predictions.parquet"))
    before = contents(one), two.read_bytes()
    findings = verify(filled).findings
    assert {finding.entry for finding in findings} == {f"runs/{R1}", f"runs/{R2}"}
    assert set(quarantine(filled, findings)) == {f"runs/{R1}", f"runs/{R2}"}
    assert (contents(one), two.read_bytes()) == before
    assert filled.finished("runs") == set()
    assert verify(filled).findings == ()


def test_a_link_in_the_place_of_a_kind_is_damage_that_only_its_owner_repairs(
    filled: Store, tmp_path: Path
) -> None:
    os.rename(filled.files.path("runs"), tmp_path / "big")
    os.symlink(tmp_path / "big", filled.files.path("runs"))
    (finding,) = verify(filled).findings
    assert finding.entry == "runs"
    assert f"is a symbolic link to {tmp_path / 'big'}" in finding.what
    assert verify(filled, kinds=["bases"]).findings == ()
    assert quarantine(filled, [finding]) == {}
    assert os.path.islink(filled.files.path("runs"))


def test_a_piece_of_garbage_is_what_it_was_found_as(filled: Store) -> None:
    found = {one.place: one for one in garbage(filled, Inventory.of(filled))}
    assert found[f"checkpoints/{R1}"] == Garbage(f"checkpoints/{R1}", "checkpoint of finished work", 1, False)


def test_a_mount_in_the_place_of_a_kind_is_named_once(
    filled: Store, tmp_path: Path, mount: Callable[..., None]
) -> None:
    """And nothing in it goes, though all of it looks like the store's own; the storage itself may be a link."""
    elsewhere = tmp_path / "elsewhere"
    os.rename(filled.files.path("runs"), elsewhere)
    os.mkdir(filled.files.path("runs"))
    mount(filled.files.path("runs"), str(elsewhere))
    (tmp_path / "link").symlink_to(filled.root)
    store = Store(str(tmp_path / "link"))
    before = contents(elsewhere)
    assert f"checkpoints/{R1}" not in {one.place for one in tidy(store).removed}, "not known to be finished"
    assert contents(elsewhere) == before
    assert Inventory.of(store).foreign == ["runs"]
    findings = verify(store).findings
    assert [(one.entry, "is a mount of its own" in one.what) for one in findings] == [("runs", True)]
    with pytest.raises(InputError, match="is a mount of its own"):
        garbage(store, Inventory.of(store), Needed(fingerprints=()))
    assert quarantine(store, findings) == {}
