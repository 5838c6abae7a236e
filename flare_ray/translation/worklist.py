"""What a stage has to translate: every distinct text once, in the order of first occurrence, in chunks.

A chunk is what one translator process takes at a time. Its texts and its name follow from the corpus alone, not
from what is translated already: so batches are put together in the same way after any interruption.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flare_ray.store import Store
from flare_ray.translation.memory import Memory, Pair, digest

CHUNK = 2048
"""Texts; few enough that many processes have work, enough to sort by length."""


@dataclass(frozen=True)
class Chunk:
    """Texts for one translator, and which of them are in the memory already."""

    name: str
    texts: list[str]
    known: list[bool]

    @property
    def missing(self) -> int:
        """Texts that are yet to be translated."""
        return self.known.count(False)


def chunks(texts: Iterable[str], memory: Memory) -> Iterator[Chunk]:
    """The chunks in which something is missing. Memory: one chunk, whatever the number of texts."""
    with _Seen() as seen:
        waiting: list[str] = []
        for some in _pieces(texts, CHUNK):
            waiting += seen.new(some)
            while len(waiting) >= CHUNK:
                yield from _chunk(waiting[:CHUNK], memory)
                del waiting[:CHUNK]
        if waiting:
            yield from _chunk(waiting, memory)


def write_chunk(store: Store, folder: str, chunk: Chunk) -> str:
    """Puts a chunk where a translator on any machine finds it; returns its place in the store."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": chunk.texts, "known": chunk.known}), buffer, compression="zstd")
    place = f"{folder}/{chunk.name}.parquet"
    store.write_bytes(place, buffer.getvalue())
    return place


def read_chunk(store: Store, place: str) -> Chunk:
    """A chunk from its place."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(store.read_bytes(place)))
    name = place.rsplit("/", 1)[-1].removesuffix(".parquet")
    return Chunk(name, table["text"].to_pylist(), table["known"].to_pylist())


def new_folder(pair: Pair) -> str:
    """Where a pair's chunks lie while one driver has them worked on."""
    return f"worklists/{pair.translator}/{pair.source}-{pair.target}/{uuid.uuid4().hex}"


def _chunk(texts: list[str], memory: Memory) -> Iterator[Chunk]:
    known = memory.get(texts)
    if len(known) == len(texts):
        return
    name = hashlib.blake2b(b"".join(map(digest, texts)), digest_size=10).hexdigest()
    yield Chunk(name, list(texts), [text in known for text in texts])


def _pieces(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    piece: list[str] = []
    for text in texts:
        piece.append(text)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece


class _Seen:
    """A set of texts that lies on disk."""

    def __enter__(self) -> _Seen:
        self._database = sqlite3.connect("")  # a file of its own that vanishes when it is closed
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def new(self, texts: list[str]) -> list[str]:
        """Those that were not among any before, in order, each once; now they are."""
        added: list[str] = []
        for text in texts:
            made = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest(text),))
            if made.rowcount:
                added.append(text)
        return added
