"""Laws of the memory and the worklist: what was translated is found again, everything else is to be done, once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from flare_ray.store import Store
from flare_ray.translation import worklist
from flare_ray.translation.memory import Entry, Memory, Pair, write_shard
from flare_ray.translation.worklist import chunks, new_folder, read_chunk, write_chunk

PAIR = Pair("0" * 20, "eng", "qal")
ODD = ["a", "A", " a", "a ", "“quoted”", "ทดสอบ", "👩‍👩‍👧 ok", "a\nb", "e\u0301", "é", "x" * 5000]


def entry(text: str) -> Entry:
    return Entry(text, f"<{text}>", len(text), ("copy", "truncated") if "x" in text else ())


def test_every_text_is_found_as_it_was_kept(store: Store) -> None:
    write_shard(store, PAIR, "one", list(map(entry, ODD)))
    with Memory(store, PAIR) as memory:
        assert memory.get(ODD) == {text: entry(text) for text in ODD}
        assert memory.find("not there") is None
        assert len(memory) == len(ODD)


def test_pairs_and_translators_know_nothing_of_each_other(store: Store) -> None:
    write_shard(store, PAIR, "one", [entry("a")])
    for other in (Pair(PAIR.translator, "qal", "eng"), Pair("1" * 20, "eng", "qal")):
        with Memory(store, other) as memory:
            assert memory.find("a") is None


def test_a_refresh_finds_what_others_wrote(store: Store) -> None:
    with Memory(store, PAIR) as memory:
        assert len(memory) == 0
        write_shard(store, PAIR, "one", [entry("a")])
        memory.refresh()
        assert memory.find("a") == entry("a")


def test_the_copy_follows_a_store_that_lost_a_shard(store: Store) -> None:
    write_shard(store, PAIR, "one", [entry("a")])
    write_shard(store, PAIR, "two", [entry("b")])
    with Memory(store, PAIR) as memory:
        (lost,) = (Path(store.root) / PAIR.folder).glob("one-*.parquet")
        lost.unlink()
        memory.refresh()
        assert memory.find("a") is None
        assert memory.find("b") == entry("b")


def test_a_shard_that_another_process_copies_meanwhile_is_not_taken_for_a_lost_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Memory(store, PAIR) as one, Memory(store, PAIR) as other:
        names = Store.names

        def while_listing(self: Store, folder: str) -> list[str]:
            found = names(self, folder)
            monkeypatch.setattr(Store, "names", names)
            write_shard(store, PAIR, "new", [entry("b")])
            other.refresh()
            return found

        monkeypatch.setattr(Store, "names", while_listing)
        one.refresh()
        assert other.find("b") == entry("b")


def test_drivers_do_not_remove_each_others_worklists() -> None:
    assert new_folder(PAIR) != new_folder(PAIR)


@pytest.mark.parametrize("damaged", ["all", "pages"])
def test_a_damaged_copy_is_made_anew(store: Store, tmp_path: Path, damaged: str) -> None:
    write_shard(store, PAIR, "one", [entry("a")])
    with Memory(store, PAIR):
        pass
    (copy,) = (tmp_path / "cache" / "translations").glob("*.sqlite")
    whole = copy.read_bytes()
    copy.write_bytes(
        b"a disk was full" * 1000 if damaged == "all" else whole[:4096] + b"?" * (len(whole) - 4096)
    )
    with Memory(store, PAIR) as memory:
        assert memory.find("a") == entry("a")


@pytest.mark.parametrize("seed", range(5))
def test_chunks_hold_each_text_once_in_order(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "CHUNK", 7)
    draw = random.Random(seed)
    texts = [draw.choice([*ODD, *map(str, range(40))]) for _ in range(120)]
    known = draw.sample(sorted(set(texts)), 5)
    write_shard(store, PAIR, "known", list(map(entry, known)))
    with Memory(store, PAIR) as memory:
        found = list(chunks(iter(texts), memory))
    distinct = list(dict.fromkeys(texts))
    there = [text for chunk in found for text in chunk.texts]
    assert there == [text for text in distinct if text in set(there)], "order of first occurrence"
    wanted = {
        text
        for chunk in found
        for text, is_known in zip(chunk.texts, chunk.known, strict=True)
        if not is_known
    }
    assert wanted == set(distinct) - set(known)
    assert all(chunk.missing for chunk in found), "a chunk in which all is known is no work"


def test_a_chunk_is_the_same_whatever_is_translated_already(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "CHUNK", 4)
    texts = list(map(str, range(10)))
    with Memory(store, PAIR) as memory:
        before = {chunk.name: chunk.texts for chunk in chunks(texts, memory)}
        write_shard(store, PAIR, "some", list(map(entry, ["1", "5"])))
        memory.refresh()
        after = {chunk.name: chunk.texts for chunk in chunks(texts, memory)}
    assert after == before


def test_a_chunk_comes_back_from_the_store(store: Store) -> None:
    with Memory(store, PAIR) as memory:
        (chunk,) = chunks(ODD, memory)
    assert read_chunk(store, write_chunk(store, new_folder(PAIR), chunk)) == chunk
