"""Laws of the stage's failures: only what is broken is charged, and the rest of a language is stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.plan.corpora import Corpus, corpus
from flare_ray.plan.schema import Translation
from flare_ray.store import Store
from flare_ray.translation import worklist
from flare_ray.translation.corpus import Translating, pair
from flare_ray.translation.memory import Memory, Pair
from flare_ray.translation.stage import Here, Stopped, build
from flare_ray.translation.translator import Translator


@pytest.fixture
def corpora(small_sandbox: Path, settings: dict[str, Any], tmp_path: Path) -> list[Corpus]:
    """A language's splits of two tasks in both directions; XNLI's validation has too many unusable rows."""
    translation = Translation(model=settings["checkpoint"], max_length=settings["max_length"])
    data = tmp_path / "data"
    for task in ("xnli", "tydiqa"):
        shutil.copytree(small_sandbox / "data" / task, data / task)
    file = data / "xnli" / "english.dev.tsv"
    header, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([header, *rows[:5], *("broken\n" for _ in rows[5:])]), encoding="utf-8")
    return [
        corpus(task, str(data / task), "qal", split, translation)
        for task in ("xnli", "tydiqa")
        for split in ("validation", "test")
    ]


class Faults:
    """What was charged with what."""

    def __init__(self) -> None:
        self.found: dict[str, Exception] = {}

    def __call__(self, one: Corpus, error: Exception) -> None:
        assert one.fingerprint not in self.found, "charged once"
        self.found[one.fingerprint] = error


def stored(store: Store, corpora: list[Corpus]) -> list[bool]:
    return [store.has("corpora", one.fingerprint) for one in corpora]


def test_a_broken_split_fails_alone(store: Store, corpora: list[Corpus]) -> None:
    faults, done = Faults(), []
    build(store, corpora, Here(store), lambda one, record: done.append(one), failed=faults)
    assert stored(store, corpora) == [False, True, True, True]
    assert list(faults.found) == [corpora[0].fingerprint]
    assert isinstance(faults.found[corpora[0].fingerprint], InputError)
    assert sorted(one.fingerprint for one in done) == sorted(one.fingerprint for one in corpora[1:])


def test_what_cannot_be_kept_fails_alone(
    store: Store, corpora: list[Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Translating.write

    def broken(self: Translating, folder: Path) -> Any:
        if self.corpus is corpora[2]:
            raise OSError("No space left on device")
        return write(self, folder)

    monkeypatch.setattr(Translating, "write", broken)
    faults = Faults()
    build(store, corpora[1:], Here(store), failed=faults)
    assert stored(store, corpora) == [False, True, False, True]
    assert list(faults.found) == [corpora[2].fingerprint]


def test_a_split_that_breaks_while_it_is_read_fails_alone(
    store: Store, corpora: list[Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Translating.asked

    def broken(self: Translating, step: int) -> Any:
        texts = list(asked(self, step))
        yield from texts[:3]
        if self.corpus is corpora[2]:
            raise ValueError("no such row")
        yield from texts[3:]

    monkeypatch.setattr(Translating, "asked", broken)
    faults = Faults()
    build(store, corpora[1:], Here(store), failed=faults)
    assert stored(store, corpora) == [False, True, False, True]
    assert list(faults.found) == [corpora[2].fingerprint]


def test_a_pool_that_breaks_is_charged_to_what_waits_for_it(store: Store, corpora: list[Corpus]) -> None:
    """The other direction has a pool of its own."""
    here = Here(store)

    def pool(one: Any, *rest: Any) -> None:
        if one == pair(corpora[2]):
            raise RuntimeError("every translator died")
        here(one, *rest)

    faults = Faults()
    build(store, corpora, pool, failed=faults)
    assert stored(store, corpora) == [False, True, False, True]
    assert [str(faults.found[corpora[2].fingerprint])] == ["every translator died"]
    assert set(faults.found) == {corpora[0].fingerprint, corpora[2].fingerprint}


def test_a_pool_that_is_told_to_leave_is_no_failure(store: Store, corpora: list[Corpus]) -> None:
    def pool(*_: Any) -> None:
        raise Stopped

    faults = Faults()
    with pytest.raises(Stopped):
        build(store, corpora[1:], pool, failed=faults)
    assert not faults.found
    assert not any(stored(store, corpora))


@pytest.mark.parametrize("count", [1, 4])
def test_without_anyone_to_tell_a_failure_is_raised(store: Store, corpora: list[Corpus], count: int) -> None:
    with pytest.raises(InputError, match=r"english\.dev"):
        build(store, corpora[:count], Here(store))


def test_a_translator_that_is_told_to_stop_saves_what_it_has(store: Store, settings: dict[str, Any]) -> None:
    texts = [f"the {word} saw a {other}." for word in ("cat", "dog", "lamp") for other in "abcdefgh"]
    one, asked = Pair("7" * 20, "eng", "qal"), iter([False, False, True])
    with Memory(store, one) as memory:
        (chunk,) = worklist.chunks(texts, memory)
        place = worklist.write_chunk(store, worklist.new_folder(one), chunk)
        first = Translator(store, one, settings, 64, save_every=1000, stop_requested=lambda: next(asked))
        made = first.chunk(place)
        memory.refresh()
        assert made["left"] > 0
        assert 0 < made["texts"] == len(memory.get(texts)) < len(texts)
        rest = Translator(store, one, settings, 64).chunk(place)
        memory.refresh()
        assert rest == {"texts": len(texts) - made["texts"], "tokens": rest["tokens"], "left": 0}
        assert set(memory.get(texts)) == set(texts)
