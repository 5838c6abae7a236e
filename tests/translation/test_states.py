"""States on disk are the encoder's own, once a text, whatever was written before, beside, or half."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flare_ray.translation.encoder import TranslationEncoder
from flare_ray.translation.states import StatesFolder, ensure

LENGTH = 48
TEXTS = [
    "jonas bringed lamp",
    "",
    " ",
    "\n",
    "a",
    "😀 👩‍👩‍👧 🇮🇩",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "هذا نص عربي «بين علامتين»",
    'quotes " and “more” of them',
    "ger film be very long and ger natvar be horrible. " * 100,  # 5,000 characters
    *(f"lamp {number} " * (number % 17 + 1) for number in range(60)),
]
SMALL = 32 * 4 * 150
"""Bytes of a shard: several shards of TEXTS at a width of 32 and less."""


@pytest.fixture(scope="module")
def checkpoint(small_sandbox: Path) -> str:
    return str(small_sandbox / "models" / "sandbox-nllb")


@pytest.fixture(scope="module")
def encoder(checkpoint: str) -> TranslationEncoder:
    return TranslationEncoder(checkpoint, torch.float32, "cpu")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flare_ray.translation.states.BUDGET", 100)


class Counting(TranslationEncoder):
    """Remembers what it was asked for; fails after so many passes."""

    def __init__(self, checkpoint: str, passes: int = 1 << 30, dtype: torch.dtype = torch.float32):
        super().__init__(checkpoint, dtype, "cpu")
        self.asked: list[str] = []
        self.passes = passes

    def states(self, texts: Any, language: str, max_length: int) -> list[torch.Tensor]:
        if not self.passes:
            raise RuntimeError("killed")
        self.passes -= 1
        self.asked += texts
        return super().states(texts, language, max_length)


def shards(folder: StatesFolder) -> list[Path]:
    return sorted(folder.folder.glob("states-*.safetensors"))


def contents(folder: StatesFolder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in shards(folder)}


@pytest.mark.usefixtures("small_batches")
def test_states_are_the_encoders_of_each_text_alone(tmp_path: Path, encoder: TranslationEncoder) -> None:
    found = ensure(tmp_path, encoder, TEXTS, "qal", LENGTH, SMALL)
    assert len(shards(found)) > 3
    lengths = encoder.lengths(TEXTS, "qal", LENGTH)
    assert lengths.max() == LENGTH, "the long text is cut"
    for text, length in zip(TEXTS, lengths, strict=True):
        alone = encoder.states([text], "qal", LENGTH)[0]
        assert found[text].shape == alone.shape == (length, encoder.width), "no padding"
        torch.testing.assert_close(found[text], alone, atol=1e-5, rtol=1e-5)


def test_a_text_that_is_not_there_is_an_error(tmp_path: Path, encoder: TranslationEncoder) -> None:
    found = ensure(tmp_path, encoder, TEXTS[:3], "qal", LENGTH)
    assert found.places([TEXTS[0], "another", TEXTS[2]]).tolist().count(-1) == 1
    assert TEXTS[0] in found
    assert "another" not in found
    with pytest.raises(KeyError, match="another"):
        found["another"]


def test_no_text_needs_no_file(tmp_path: Path, checkpoint: str) -> None:
    found = ensure(tmp_path, Counting(checkpoint), [], "qal", LENGTH)
    assert len(found) == 0
    assert found.places(["a"]).tolist() == [-1]
    assert not list(tmp_path.iterdir())


def test_each_text_is_encoded_once(tmp_path: Path, checkpoint: str) -> None:
    first = Counting(checkpoint)
    ensure(tmp_path, first, [*TEXTS[:20], *TEXTS[10:30], *TEXTS[:5]], "qal", LENGTH)
    assert sorted(first.asked) == sorted(TEXTS[:30])
    more = Counting(checkpoint)
    found = ensure(tmp_path, more, TEXTS, "qal", LENGTH)
    assert sorted(more.asked) == sorted(TEXTS[30:])
    assert len(found) == len(set(TEXTS)) == len(TEXTS)
    again = Counting(checkpoint)
    ensure(tmp_path, again, TEXTS[::-1], "qal", LENGTH)
    assert not {"encoder", "tokenizer"} & vars(again).keys(), "nothing was loaded"


def test_an_encoder_loads_nothing_until_it_is_needed_and_lets_go(checkpoint: str) -> None:
    encoder = TranslationEncoder(checkpoint, torch.float32, "cpu")
    width = encoder.width
    assert not {"encoder", "tokenizer"} & vars(encoder).keys()
    before = encoder.states(["lamp"], "qal", LENGTH)[0]
    assert before.shape[1] == width
    encoder.unload()
    assert "encoder" not in vars(encoder)
    assert torch.equal(encoder.states(["lamp"], "qal", LENGTH)[0], before)


def test_folders_are_told_apart_by_what_changes_states(
    tmp_path: Path, encoder: TranslationEncoder, checkpoint: str
) -> None:
    half = TranslationEncoder(checkpoint, torch.bfloat16, "cpu")
    made = {
        name: ensure(tmp_path, *given)
        for name, given in {
            "one": (encoder, ["lamp"], "qal", LENGTH),
            "same": (TranslationEncoder(checkpoint, torch.float32, "cpu"), ["lamp"], "qal", LENGTH),
            "language": (encoder, ["lamp"], "qtu", LENGTH),
            "length": (encoder, ["lamp"], "qal", 8),
            "dtype": (half, ["lamp"], "qal", LENGTH),
        }.items()
    }
    folders = {name: found.folder for name, found in made.items()}
    assert folders["one"] == folders.pop("same")
    assert len(set(folders.values())) == 4
    assert made["dtype"]["lamp"].dtype == torch.bfloat16
    assert torch.equal(made["dtype"]["lamp"], half.states(["lamp"], "qal", LENGTH)[0])
    assert not torch.allclose(made["language"]["lamp"], made["one"]["lamp"])


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("passes", [0, 1, 7, 12])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path, checkpoint: str, passes: int) -> None:
    whole = ensure(tmp_path / "whole", Counting(checkpoint), TEXTS, "qal", LENGTH, SMALL)
    with pytest.raises(RuntimeError, match="killed"):
        ensure(tmp_path / "cut", Counting(checkpoint, passes), TEXTS, "qal", LENGTH, SMALL)
    left = StatesFolder(tmp_path / "cut" / whole.folder.name)
    assert len(left) < len(whole)
    rest = Counting(checkpoint)
    resumed = ensure(tmp_path / "cut", rest, TEXTS[::-1], "qal", LENGTH, SMALL)
    assert len(rest.asked) == len(whole) - len(left), "what is in a whole shard is not encoded again"
    assert contents(resumed) == contents(whole)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("damage", ["short", "empty", "header", "other file"])
def test_a_shard_that_is_not_whole_is_made_again(tmp_path: Path, checkpoint: str, damage: str) -> None:
    whole = ensure(tmp_path, Counting(checkpoint), TEXTS, "qal", LENGTH, SMALL)
    before, file = contents(whole), shards(whole)[1]
    lost = load_file(file)["digests"].shape[0]
    if damage == "other file":
        file.unlink()
        save_file({"weight": torch.zeros(3)}, file)
    else:
        data = file.read_bytes()
        file.unlink()  # readers may have the old one mapped
        bad = {"short": data[:-1], "empty": b"", "header": data[:8] + b"x" + data[9:]}
        file.write_bytes(bad[damage])
    damaged = StatesFolder(whole.folder)
    assert damaged.broken == [file]
    assert len(damaged) == len(whole) - lost
    counting = Counting(checkpoint)
    mended = ensure(tmp_path, counting, TEXTS, "qal", LENGTH, SMALL)
    assert len(counting.asked) == lost
    assert not mended.broken
    assert contents(mended) == before


def test_an_open_reader_keeps_reading_while_others_write(tmp_path: Path, checkpoint: str) -> None:
    encoder = Counting(checkpoint)
    early = ensure(tmp_path, encoder, TEXTS[:5], "qal", LENGTH)
    kept = {text: early[text].clone() for text in TEXTS[:5]}
    ensure(tmp_path, encoder, TEXTS, "qal", LENGTH)
    for file in shards(early):
        file.unlink()
    assert all(torch.equal(early[text], kept[text]) for text in kept)
    assert TEXTS[9] not in early


def test_states_are_views_of_the_file(tmp_path: Path, encoder: TranslationEncoder) -> None:
    found = ensure(tmp_path, encoder, TEXTS, "qal", LENGTH)
    pieces = [found[text] for text in TEXTS]
    assert len({piece.untyped_storage().data_ptr() for piece in pieces}) == 1, "one shard, one map, no copy"
    assert found.at(int(found.places(["lamp 1 lamp 1 "])[0])).equal(found["lamp 1 lamp 1 "])


def _ensure_in_child(root: Path, checkpoint: str, results: Any) -> None:
    torch.set_num_threads(1)
    encoder = Counting(checkpoint)
    ensure(root, encoder, TEXTS, "qal", LENGTH, SMALL)
    results.put(len(encoder.asked))


@pytest.mark.slow
def test_of_several_processes_one_encodes(tmp_path: Path, checkpoint: str) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [
        context.Process(target=_ensure_in_child, args=(tmp_path, checkpoint, results)) for _ in range(2)
    ]
    for child in children:
        child.start()
    asked = [results.get(timeout=500) for _ in children]
    for child in children:
        child.join()
    assert sorted(asked) == [0, len(TEXTS)]


CHILD = """
import sys, time
from pathlib import Path
import torch
from flare_ray.translation import states
from tests.translation.test_states import LENGTH, SMALL, TEXTS, Counting

class Slow(Counting):
    def states(self, *given):
        time.sleep(0.2)
        return super().states(*given)

torch.set_num_threads(1)
states.BUDGET = 100
states.ensure(Path(sys.argv[1]), Slow(sys.argv[2]), TEXTS, "qal", LENGTH, SMALL)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("after", [0, 2])
def test_killed_with_sigkill_and_resumed_is_uninterrupted(
    tmp_path: Path, checkpoint: str, after: int
) -> None:
    """Killed once it has written so many shards, in the middle of the next."""
    whole = ensure(tmp_path / "whole", Counting(checkpoint), TEXTS, "qal", LENGTH, SMALL)
    folder = tmp_path / "cut" / whole.folder.name
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "cut"), checkpoint], cwd=Path(__file__).parents[2]
    )

    def reached() -> bool:
        return folder.is_dir() and len(shards(StatesFolder(folder))) >= after

    _until(lambda: reached() or child.poll() is not None)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    left = len(StatesFolder(folder))
    assert left < len(whole)
    rest = Counting(checkpoint)
    resumed = ensure(tmp_path / "cut", rest, TEXTS, "qal", LENGTH, SMALL)
    assert len(rest.asked) == len(whole) - left
    assert resumed.folder == folder
    assert contents(resumed) == contents(whole)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_index_finds_every_text_among_many(tmp_path: Path, checkpoint: str) -> None:
    """Of thousands of texts each its own states, here told apart by its number."""

    class Numbering(TranslationEncoder):
        def states(self, texts: Any, language: str, max_length: int) -> list[torch.Tensor]:
            lengths = self.lengths(texts, language, max_length)
            return [
                torch.full((n, self.width), float(text.split()[1]))
                for n, text in zip(lengths, texts, strict=True)
            ]

    texts = [f"text {number}" for number in range(3000)]
    encoder = Numbering(checkpoint, torch.float32, "cpu")
    found = ensure(tmp_path, encoder, texts, "qal", LENGTH, shard_bytes=1 << 18)
    assert len(shards(found)) > 2
    places = found.places(texts)
    assert sorted(places.tolist()) == list(range(len(texts)))
    assert all(bool((found.at(place) == number).all()) for number, place in enumerate(places.tolist()))
    assert np.array_equal(
        [len(found.at(place)) for place in places.tolist()], encoder.lengths(texts, "qal", LENGTH)
    )


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "how", ["flipped", "cut", "empty", "a folder", "of another language", "without a checksum"]
)
def test_a_damaged_shard_is_encoded_again(tmp_path: Path, encoder: TranslationEncoder, how: str) -> None:
    found = ensure(tmp_path, encoder, TEXTS, "qal", LENGTH, SMALL)
    before, file = contents(found), shards(found)[1]
    if how == "flipped":
        file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    elif how == "without a checksum":
        file.rename(file.with_name("states-00001.safetensors"))
    else:
        other = shards(ensure(tmp_path, encoder, TEXTS, "qtu", LENGTH, SMALL))[1]
        file.unlink()
        (file.parent / other.name).write_bytes(other.read_bytes())
    again = ensure(tmp_path, encoder, TEXTS, "qal", LENGTH, SMALL)
    assert contents(again) == before
    assert not again.broken
