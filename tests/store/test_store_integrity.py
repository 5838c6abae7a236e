"""verify finds every kind of damage, names the file, and repair makes the work undone."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from safetensors.numpy import save_file
from written import RECORD, key

from flare_ray.store import Store, open_store
from flare_ray.store.integrity import quarantine, verify
from flare_ray.store.inventory import Inventory

R1, R2, R3, T1 = "a" * 20, "b" * 20, "c" * 20, key("t1")


@pytest.fixture
def filled(store: Store, files: Path) -> Store:
    save_file({"a": np.ones(100, np.float32)}, files / "adapter" / "model.safetensors")
    (files / "adapter" / "config.json").write_text("{}")
    for name in (R1, R2):
        store.write("runs", name, RECORD | {"fingerprint": name}, files)
    store.write_failure(R3, {"error": "x"})
    return store


def place_of(store: Store, ending: str) -> str:
    (place,) = [
        place for place in store.files.find() if place.startswith(f"runs/{R1}/") and place.endswith(ending)
    ]
    return place


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "a bit": ("model.safetensors", flip, "checksum"),
    "cut off": ("weights.bin", lambda content: content[:-1], "has 255 bytes instead of 256"),
    "empty": ("predictions.parquet", lambda content: b"", "has 0 bytes"),
    "gone": ("weights.bin", lambda content: None, "is missing"),
    "a cut record": ("record.json", lambda content: content[:-20], "cannot be read"),
    "another record": (
        "record.json",
        lambda content: content.replace(b"61.25", b"71.25"),
        "is not what was written",
    ),
    "no object": ("record.json", lambda content: b"[]", "cannot be read"),
    "no text": ("record.json", lambda content: b"\xff\xfe\x00", "cannot be read"),
}


def test_what_was_written_is_whole(filled: Store) -> None:
    checked = verify(filled)
    assert checked.findings == ()
    assert (checked.records, checked.files) == (2, 2 * 5 + 1)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_named_and_repaired(filled: Store, files: Path, damage: str) -> None:
    ending, change, what = DAMAGE[damage]
    place = place_of(filled, ending)
    content = change(filled.read_bytes(place))
    filled.files.remove(place)
    if content is not None:
        filled.write_bytes(place, content)
    (finding,) = verify(filled).findings
    assert finding.entry == f"runs/{R1}"
    assert finding.place.endswith(ending)
    assert what in finding.what
    moved = quarantine(filled, [finding])
    assert filled.finished("runs") == {R2}
    assert verify(filled).findings == ()
    assert len(filled.files.find("quarantine/runs")) == (4 if damage == "gone" else 5)
    assert f"quarantine/runs/{R1}." in moved[f"runs/{R1}"]
    assert filled.write("runs", R1, RECORD, files)
    assert filled.finished("runs") == {R1, R2}


def test_every_damage_is_listed(filled: Store) -> None:
    for ending in ("predictions.parquet", "config.json"):
        filled.files.remove(place_of(filled, ending))
    filled.write_text(f"failures/{R3}.json", "{")
    filled.write_text(f"translations/{T1}/eng-ace/one.parquet", "no table")
    findings = verify(filled).findings
    assert [finding.entry for finding in findings] == [
        f"failures/{R3}.json",
        f"runs/{R1}",
        f"runs/{R1}",
        f"translations/{T1}/eng-ace/one.parquet",
    ]
    assert len(verify(filled, kinds=["runs"]).findings) == 2
    quarantine(filled, findings)
    assert verify(filled).findings == ()
    assert filled.failure(R3) is None
    assert filled.names(f"translations/{T1}/eng-ace") == []


@pytest.mark.parametrize("end", [0, 7, 100])
def test_without_a_manifest_headers_are_tried(store: Store, files: Path, end: int) -> None:
    save_file({"a": np.ones(100, np.float32)}, files / "model.safetensors")
    content = (files / "model.safetensors").read_bytes()
    store.write_text(f"bases/{R1}/record.json", json.dumps(RECORD | {"fingerprint": R1}))
    store.write_bytes(f"bases/{R1}/model.safetensors", content)
    store.write_bytes(f"bases/{R1}/rows.parquet", (files / "predictions.parquet").read_bytes())
    assert verify(store).findings == ()
    store.write_bytes(f"bases/{R1}/model.safetensors", content[:end] if end else struct.pack("<Q", 2**60))
    store.write_bytes(f"bases/{R1}/rows.parquet", b"PAR1")
    places = [finding.place.rsplit("/", 1)[1] for finding in verify(store).findings]
    assert places == ["model.safetensors", "rows.parquet"]


def test_a_storage_out_of_reach_is_no_damage(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else --repair would throw away what is whole."""
    store = Store("memory://far/store")
    store.write("runs", R1, RECORD, files)
    read = store.files.read

    def down(place: str) -> bytes:
        if place.endswith("record.json"):
            return read(place)
        raise TimeoutError("slow")

    monkeypatch.setattr(store.files, "read", down)
    with pytest.raises(TimeoutError):
        verify(store)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_what_a_disk_does_not_read_now_is_named_and_not_moved(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = open_store(str(tmp_path / "store"))
    store.write("runs", R1, RECORD | {"fingerprint": R1}, files)
    opened = store.files.open

    def fails(place: str) -> BinaryIO:
        if place.endswith("predictions.parquet"):
            raise OSError(code, os.strerror(code), place)
        return opened(place)

    monkeypatch.setattr(store.files, "open", fails)
    (finding,) = verify(store).findings
    assert os.strerror(code) in finding.what
    assert quarantine(store, [finding]) == {}
    assert store.has("runs", R1)


def test_a_record_that_is_made_again_after_the_listing_is_not_damaged(store: Store, files: Path) -> None:
    store.write("runs", R1, RECORD | {"fingerprint": R1}, files)
    listed = Inventory.of(store)
    store.remove(f"runs/{R1}")
    (files / "predictions.parquet").unlink()
    (files / "more.json").write_text("{}")
    store.write("runs", R1, RECORD | {"fingerprint": R1, "again": True}, files)
    assert verify(store, listed).findings == ()
