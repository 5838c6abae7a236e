"""States of a translation model's encoder on disk: each text encoded once, read by memory map (paper, section 3.4).

A folder is for one encoder, language, dtype and length limit, and named by them; in it a text is known by its
digest, so splits, tasks and sweeps share what they share. One shard is one file, renamed into place when it is whole:

    <root>/<fingerprint>/about.json                 what the name stands for, for people
    <root>/<fingerprint>/states-00000-<checksum>.safetensors
                                                    states [tokens, d_M], digests [texts, 16], starts [texts + 1]

A shard is read when it has the checksum of its name and the folder's name in its head; else it is made again. The
folder's index is what its shards say of themselves. Killed at any moment, the next start encodes what is in no
whole shard, in the same batches: the folder is then what it would have been.

    states = ensure(root, encoder, texts, "sw", max_length=128)
    states[texts[0]]  # [m, d_M], real tokens only

A folder takes tokens × d_M × bytes of a number: 2 KiB a token for NLLB-200 600M in bf16 (d_M = 1024), so about 30 GB
for the 392,702 training pairs of XNLI in one language. Nothing removes one; it can be deleted while nobody reads it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from flare_ray.plan.fingerprint import fingerprint
from flare_ray.store.digests import has_checksum
from flare_ray.store.manifest import checksum_of
from flare_ray.translation.batching import batches
from flare_ray.translation.checkpoints import flores
from flare_ray.translation.encoder import TranslationEncoder

log = logging.getLogger(__name__)

VERSION = 2
"""Raised when the same text would get other states, or the files another form."""
SHARD_BYTES = 256 << 20
BUDGET = 8192
"""Tokens in one pass, padding included."""
_DIGEST = 16
_SHARDS = "states-*.safetensors"
_FOLDER = "folder"
"""In a shard's metadata: the name of its folder."""


class StatesFolder:
    """The states in a folder when it was opened; any number of readers may be open beside one writer.

    Only the index is held in memory (some 40 bytes a text). broken: files of shards that are not whole.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.broken: list[Path] = []
        self._shards: list[torch.Tensor] = []
        digests, shard, first, length = [np.empty(0, f"S{_DIGEST}")], [], [], []
        for file in sorted(folder.glob(_SHARDS)):
            found = _open(file)
            if found is None:
                self.broken.append(file)
                continue
            states, names, starts = found
            digests.append(names)
            shard.append(np.full(len(names), len(self._shards), np.int32))
            first.append(starts[:-1])
            length.append(np.diff(starts))
            self._shards.append(states)
        names = np.concatenate(digests)
        order = np.argsort(names, kind="stable")
        self._digests = names[order]
        self._shard, self._first, self._length = (
            np.concatenate([np.empty(0, np.int64), *parts])[order] for parts in (shard, first, length)
        )

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, text: str) -> bool:
        return bool(self.places([text])[0] >= 0)

    def __getitem__(self, text: str) -> torch.Tensor:
        """States [m, d_M] of a text. Raises KeyError."""
        place = int(self.places([text])[0])
        if place < 0:
            raise KeyError(text)
        return self.at(place)

    def places(self, texts: Sequence[str]) -> np.ndarray:
        """Where `at` finds each text, -1 for one that is not there: int64 [texts]."""
        wanted = np.array([_digest(text) for text in texts], f"S{_DIGEST}")
        if not len(self):
            return np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(self._digests, wanted), len(self) - 1)
        return np.where(self._digests[found] == wanted, found, -1)

    def at(self, place: int) -> torch.Tensor:
        """States [m, d_M] at a place: a view of the file, which is read when its values are."""
        start = int(self._first[place])
        return self._shards[int(self._shard[place])][start : start + int(self._length[place])]


def ensure(
    root: Path,
    encoder: TranslationEncoder,
    texts: Sequence[str],
    language: str,
    max_length: int,
    shard_bytes: int = SHARD_BYTES,
) -> StatesFolder:
    """A folder under `root` that has the states of all these texts; what is missing is encoded now.

    Of several processes on a machine one encodes and the others wait for it. Where nothing is missing the encoder is
    not loaded. Which batches are formed depends on the set of missing texts, not on their order. Memory: a shard
    (`shard_bytes`, or one batch where that is more) and the texts.
    """
    from filelock import FileLock

    about = {
        "version": VERSION,
        "encoder": encoder.identity,
        "language": flores(language),
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "max_length": max_length,
    }
    folder = root / fingerprint(about)
    found = StatesFolder(folder)
    if (found.places(texts) >= 0).all():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        found = StatesFolder(folder)  # whoever held the lock may have done it
        for file in found.broken:
            log.warning("%s is not what was written: its texts are encoded again", file)
            file.rename(file.with_name("broken"))  # also a folder
            shutil.rmtree(file.with_name("broken"), ignore_errors=True)
            file.with_name("broken").unlink(missing_ok=True)
        missing = [text for text, place in zip(texts, found.places(texts), strict=True) if place < 0]
        if missing:
            (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
            _encode(folder, encoder, missing, language, max_length, shard_bytes)
    return StatesFolder(folder)


def _encode(
    folder: Path,
    encoder: TranslationEncoder,
    missing: Sequence[str],
    language: str,
    max_length: int,
    shard_bytes: int,
) -> None:
    """Writes the shards of texts, each once, the longest first and those of one length by their digests."""
    digests, texts = zip(*sorted({_digest(text): text for text in missing}.items()), strict=True)
    lengths = encoder.lengths(texts, language, max_length)
    most = shard_bytes // (encoder.width * encoder.dtype.itemsize)
    for shard in _shards(batches(lengths.tolist(), BUDGET), lengths, most):
        order = [index for batch in shard for index in batch]
        starts = np.concatenate([[0], np.cumsum(lengths[order])])
        states = torch.empty(int(starts[-1]), encoder.width, dtype=encoder.dtype)
        parts = (
            part
            for batch in shard
            for part in encoder.states([texts[index] for index in batch], language, max_length)
        )
        for start, end, part in zip(starts[:-1], starts[1:], parts, strict=True):
            states[start:end] = part
        names = np.frombuffer(b"".join(digests[index] for index in order), np.uint8)
        _save(folder, states, names.reshape(-1, _DIGEST), starts)


def _shards(whole: list[list[int]], lengths: np.ndarray, most: int) -> Iterator[list[list[int]]]:
    """Whole batches in shards of at most `most` tokens, or one batch."""
    shard: list[list[int]] = []
    tokens = 0
    for batch in whole:
        more = int(lengths[batch].sum())
        if shard and tokens + more > most:
            yield shard
            shard, tokens = [], 0
        shard.append(batch)
        tokens += more
    if shard:
        yield shard


def _save(folder: Path, states: torch.Tensor, digests: np.ndarray, starts: np.ndarray) -> None:
    """A shard under the lowest free number, on the disk before it has its name."""
    from safetensors.torch import save_file

    taken = {file.name.split("-")[1] for file in folder.glob(_SHARDS)}
    number = next(free for free in (f"{number:05}" for number in range(len(taken) + 1)) if free not in taken)
    scratch = folder / f"states-{number}.unfinished"
    index = {"digests": torch.tensor(digests), "starts": torch.tensor(starts)}
    save_file({"states": states, **index}, scratch, metadata={_FOLDER: folder.name})
    shutil.copymode(folder / "about.json", scratch)  # save_file's own mode is for one user
    with scratch.open("rb+") as stream:
        os.fsync(stream.fileno())
    scratch.replace(folder / _SHARDS.replace("*", f"{number}-{checksum_of(scratch)}"))


def _open(file: Path) -> tuple[torch.Tensor, np.ndarray, np.ndarray] | None:
    """States by memory map, digests and starts of a shard; None where the file is not whole."""
    from safetensors import SafetensorError, safe_open

    try:
        if not has_checksum(file, file.stem.rpartition("-")[2]):
            return None
        with safe_open(file, "pt") as tensors:
            if (tensors.metadata() or {}).get(_FOLDER) != file.parent.name:
                return None
            states, digests, starts = (tensors.get_tensor(name) for name in ("states", "digests", "starts"))
    except (SafetensorError, OSError):
        return None
    names = np.frombuffer(digests.numpy().tobytes(), f"S{_DIGEST}")
    rows = starts.numpy().copy()
    return (states, names, rows) if len(rows) == len(names) + 1 and rows[-1] == len(states) else None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST).digest()
