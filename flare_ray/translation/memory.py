"""The translation memory: every text that was ever translated, with its translation, once.

A translation is known by what determines it: the translator (checkpoint, decoding), the language pair and the text.
The store keeps shards, written whole and never changed:

    translations/<translator>/<source>-<target>/<shard>.parquet     text, translation, tokens, flags

Each machine copies them into a SQLite file in its cache, where any of millions of texts is looked up without being
held in memory. That file is only a copy: it is made again when it does not agree with the store.
"""

from __future__ import annotations

import hashlib
import io
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_ray.cache import cache_folder
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.store import Damaged, Store
from flare_ray.store.addressed import addressed_name, check_addressed

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS entries (
  digest BLOB PRIMARY KEY, translation TEXT NOT NULL, tokens INTEGER NOT NULL, flags TEXT NOT NULL,
  checksum INTEGER NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = ["text", "translation", "tokens", "flags"]
_ASKED_AT_ONCE = 500  # below SQLite's limit of variables in one statement


@dataclass(frozen=True)
class Pair:
    """One translator in one direction. translator: 20 hex digits (`settings.translator_key`)."""

    translator: str
    source: str
    target: str

    @property
    def folder(self) -> str:
        """Its shards' folder in the store."""
        return f"translations/{self.translator}/{self.source}-{self.target}"


@dataclass(frozen=True)
class Entry:
    """A text's translation. flags: what looks wrong with it (quality.py), `empty` among them."""

    text: str
    translation: str
    tokens: int = 0
    flags: tuple[str, ...] = ()


def digest(text: str) -> bytes:
    """By which a text is looked up: 16 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def write_shard(store: Store, pair: Pair, prefix: str, entries: Sequence[Entry]) -> None:
    """Adds translations to the store, all of them or none, in a shard whose name has its checksum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "text": [entry.text for entry in entries],
            "translation": [entry.translation for entry in entries],
            "tokens": pa.array([entry.tokens for entry in entries], pa.int32()),
            "flags": [" ".join(entry.flags) for entry in entries],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    name = addressed_name(pair.folder, prefix, buffer.getvalue(), ".parquet")
    store.write_bytes(f"{pair.folder}/{name}", buffer.getvalue())


def shard_texts(store: Store, pair: Pair, name: str) -> list[str]:
    """The texts of one shard, by its name in the store; none of a damaged one."""
    shard = _sound_shard(store, pair, name)
    return [] if shard is None else shard["text"].to_pylist()


def _sound_shard(store: Store, pair: Pair, name: str) -> Any:
    """Return a shard as a table; a damaged one goes to quarantine, so that its texts are translated again: None."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = f"{pair.folder}/{name}"
    content = store.read_bytes(path)
    try:
        check_addressed(path, content)
        return pq.read_table(io.BytesIO(content), columns=_COLUMNS)
    except (Damaged, pa.ArrowException, OSError) as error:
        log.warning("%s: %s; its texts are translated again", store.quarantine(path, is_file=True), error)
        return None


class Memory:
    """What one machine knows of a pair's translations. Use as a context manager, and `refresh` it."""

    def __init__(self, store: Store, pair: Pair):
        self.store, self.pair = store, pair
        self._file = _copy_of(store, pair)

    def __enter__(self) -> Memory:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        for last in (False, True):
            try:
                self._database = _opened(self._file)
                self.refresh()
                return self
            except sqlite3.DatabaseError as error:  # damaged by a machine that went down, or a full disk
                if last or isinstance(error, sqlite3.OperationalError):
                    raise
                self._file.unlink(missing_ok=True)
        raise AssertionError

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def refresh(self) -> None:
        """Copies the shards that are new in the store; starts again where the store has lost one."""
        known = {name for (name,) in self._database.execute("SELECT name FROM shards")}
        there = self.store.names(
            self.pair.folder
        )  # asked last: another process may copy a new shard meanwhile
        if not known <= set(there):
            self._clear()
            known = set()
        for name in there:
            if name not in known:
                self._copy(name)

    def _clear(self) -> None:
        with self._database:
            self._database.execute("DELETE FROM entries")
            self._database.execute("DELETE FROM shards")

    def _copy(self, name: str) -> None:
        shard = _sound_shard(self.store, self.pair, name)
        if shard is None:
            return
        with self._database:
            for batch in shard.to_batches():
                columns = (batch[column].to_pylist() for column in _COLUMNS)
                rows = [(digest(text), *rest, _checksum(*rest)) for text, *rest in zip(*columns, strict=True)]
                self._database.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
            self._database.execute("INSERT OR IGNORE INTO shards VALUES (?)", (name,))

    def get(self, texts: Iterable[str]) -> dict[str, Entry]:
        """The translations of those texts that have one. A damaged copy is made again from the store."""
        asked = list(texts)
        try:
            return self._get(asked)
        except _DamagedCopy as error:
            log.warning("%s: %s; copying the shards anew", self._file, error)
            self._clear()
            self.refresh()
            return self._get(asked)

    def _get(self, texts: Iterable[str]) -> dict[str, Entry]:
        texts_by_digest = {digest(text): text for text in texts}
        entries: dict[str, Entry] = {}
        keys = list(texts_by_digest)
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            some = keys[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._database.execute(f"SELECT * FROM entries WHERE digest IN ({marks})", some)
            for key, translation, tokens, flags, checksum in rows:
                text = texts_by_digest[key]
                if checksum != _checksum(translation, tokens, flags):
                    raise _DamagedCopy(f"the entry of {text[:40]!r} is not what was written")
                entries[text] = Entry(text, translation, tokens, tuple(flags.split()))
        return entries

    def find(self, text: str) -> Entry | None:
        """The translation of one text."""
        return self.get([text]).get(text)

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM entries").fetchone()[0])


class _DamagedCopy(Exception):
    """An entry of the cache that is not what was written."""


def _checksum(translation: str, tokens: int, flags: str) -> int:
    return zlib.crc32(f"{translation}\0{tokens}\0{flags}".encode())


def _copy_of(store: Store, pair: Pair) -> Path:
    key = fingerprint({"store": store.url, "pair": vars(pair), "schema": _SCHEMA})
    return cache_folder() / "translations" / f"{key}.sqlite"


def _opened(file: Path) -> Any:
    database = sqlite3.connect(file, timeout=120)
    database.execute("PRAGMA synchronous=OFF")  # lost with the machine, and made again
    database.executescript(_SCHEMA)
    return database
