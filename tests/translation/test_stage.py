"""Laws of the stage: rows in are rows out, in order; each text once; the same files after any interruption."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flare_ray import registry
from flare_ray.errors import InputError
from flare_ray.plan.corpora import Corpus, corpus
from flare_ray.plan.schema import Translation
from flare_ray.store import Store
from flare_ray.translation import translator, worklist
from flare_ray.translation.corpus import ROWS, read
from flare_ray.translation.files import translate_file
from flare_ray.translation.memory import Memory, Pair
from flare_ray.translation.stage import Here, build, fill

ODD = [
    "",
    "   ",
    "plain",
    "plain",
    'he said "no" and «yes»',
    "🙂 👩‍👩‍👧",
    "สวัสดีครับ ผมชื่อสมชาย",
    "السَّلَامُ عَلَيْكُمْ",
    "Sentence one. " * 350,
    "\ttabs\tand\nlines",
]


@pytest.fixture
def corpora(small_sandbox: Path, settings: dict[str, Any]) -> Callable[..., list[Corpus]]:
    def made(
        task: str, language: str = "qal", splits: tuple[str, ...] = ("validation", "test")
    ) -> list[Corpus]:
        data = str(small_sandbox / "data" / task)
        translation = Translation(model=settings["checkpoint"], max_length=settings["max_length"])
        return [corpus(task, data, language, split, translation) for split in splits]

    return made


def rows_of(store: Store, one: Corpus) -> list[dict[str, Any]]:
    return pq.read_table(store.folder("corpora", one.fingerprint) / ROWS).to_pylist()


@pytest.mark.parametrize("task", ["nusax", "xnli", "tydiqa"])
def test_rows_in_are_rows_out(store: Store, corpora: Callable[..., list[Corpus]], task: str) -> None:
    made = corpora(task)
    build(store, made, Here(store))
    for one in made:
        record = store.record("corpora", one.fingerprint)
        human = registry.load("tasks", task).read(one.data, "qal" if one.into_english else "eng", one.split)
        rows = rows_of(store, one)
        assert [row["id"] for row in rows] == human.table["id"].to_pylist()
        if task != "tydiqa":
            assert [row["label"] for row in rows] == human.table["label"].to_pylist()
        assert record["rows"] == len(rows) == record["usable"] + sum(record["failed"].values())
        for row in rows:
            empty = [column for column in registry.load("tasks", task).text_columns if not row[column]]
            assert bool(empty) == bool(row["reason"]), "never silently empty"
        usable = read(registry.load("tasks", task), store.folder("corpora", one.fingerprint) / ROWS)
        assert usable.table.num_rows == record["usable"]
        assert usable.dropped == record["failed"]


def test_recovered_answers_stand_where_they_are_said_to(
    store: Store, corpora: Callable[..., list[Corpus]]
) -> None:
    (one,) = corpora("tydiqa", splits=("validation",))
    build(store, [one], Here(store))
    for row in rows_of(store, one):
        for answer in row["answers"] or []:
            start = answer["start"]
            assert row["context"][start : start + len(answer["text"])] == answer["text"] != ""


def test_every_text_is_translated_once(
    store: Store, corpora: Callable[..., list[Corpus]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    entries = translator.Translator.entries
    monkeypatch.setattr(
        translator.Translator, "entries", lambda self, texts: asked.extend(texts) or entries(self, texts)
    )
    made = corpora("xnli")
    for _ in range(2):  # the second finds everything stored
        build(store, made, Here(store))
    store.remove("corpora")
    build(store, made, Here(store))  # and the third every text
    by_direction = [one.into_english for one in made]
    assert by_direction == [False, True]
    assert len(asked) == len(set(asked)), "both directions have texts of their own"


@pytest.mark.parametrize("dies_at", [0, 1, 3, 6])
def test_an_interrupted_stage_ends_in_the_same_files(
    tmp_path: Path, corpora: Callable[..., list[Corpus]], monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    monkeypatch.setattr(worklist, "CHUNK", 16)
    made = corpora("xnli", splits=("validation",))
    quiet, hit = (Store(str(tmp_path / name)) for name in ("quiet", "hit"))
    options = {"batch_tokens": 128, "save_every": 0.0}
    build(quiet, made, Here(quiet, **options))

    entries, calls = translator.Translator.entries, 0

    def dying(self: Any, texts: list[str]) -> Any:
        nonlocal calls
        calls += 1
        if calls == dies_at + 1:
            raise KeyboardInterrupt
        return entries(self, texts)

    monkeypatch.setattr(translator.Translator, "entries", dying)
    with pytest.raises(KeyboardInterrupt):
        build(hit, made, Here(hit, **options))
    assert not hit.finished("corpora"), "a corpus is whole, or it is not there"
    before = calls
    build(hit, made, Here(hit, **options))
    shards = [sorted(Path(s.root).glob("translations/*/*/*.parquet")) for s in (quiet, hit)]
    assert calls - before == len(shards[0]) - dies_at, "only what was missing"
    assert [path.name for path in shards[0]] == [path.name for path in shards[1]]
    files = [[path.read_bytes() for path in group] for group in shards]
    assert files[0] == files[1]
    assert rows_of(quiet, made[0]) == rows_of(hit, made[0])


def test_another_process_goes_on_in_a_chunk(
    store: Store, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray does when a translator dies: the chunk, as it was written, goes to another one."""
    texts = [f"the {word} saw a {other}." for word in ("cat", "dog", "lamp") for other in "abcdefgh"]
    one = Pair("2" * 20, "eng", "qal")
    with Memory(store, one) as memory:
        (chunk,) = worklist.chunks(texts, memory)
        place = worklist.write_chunk(store, worklist.new_folder(one), chunk)
        first = translator.Translator(store, one, settings, batch_tokens=64, save_every=0.0)
        made = first.chunk(place)
        shards = store.names(one.folder)
        (Path(store.root) / one.folder / shards[2]).unlink()
        again = translator.Translator(store, one, settings, batch_tokens=64, save_every=0.0).chunk(place)
        memory.refresh()
        assert store.names(one.folder) == shards
        assert 0 < again["texts"] < made["texts"] == len(texts)
        assert set(memory.get(texts)) == set(texts)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_ones_own(store: Store, settings: dict[str, Any], tmp_path: Path, kind: str) -> None:
    file, out = tmp_path / f"mine.{kind}", tmp_path / f"out.{kind}"
    odd = [re.sub(r"[\t\n]+", " ", text) for text in ODD] if kind == "tsv" else ODD
    rows = [{"key": f"{number:03d}", "text": text} for number, text in enumerate(odd)]
    _write(file, rows)
    counts = translate_file(store, file, ["text"], Pair("3" * 20, "eng", "qal"), settings, out, Here(store))
    made = _read(out)
    assert [(row["key"], row["text"]) for row in made] == [(row["key"], row["text"]) for row in rows]
    assert [row["text_qal_reason"] == "empty text" for row in made] == [not text.strip() for text in ODD]
    assert all(bool(row["text_qal"]) != bool(row["text_qal_reason"]) for row in made)
    assert made[2]["text_qal"] == made[3]["text_qal"]
    assert counts["rows"] == len(ODD) == len(made)
    assert sum(counts["failed"].values()) == sum(bool(row["text_qal_reason"]) for row in made)


def test_a_lost_shard_is_translated_again(store: Store, settings: dict[str, Any]) -> None:
    """Also where the shards of one chunk were written at different times."""
    one = Pair("4" * 20, "eng", "qal")
    first, all_of_them = ["a cat.", "a dog."], ["a cat.", "a dog.", "a lamp.", "a hat."]

    def filled(texts: list[str]) -> set[str]:
        with Memory(store, one) as memory:
            fill(store, memory, settings, lambda step: [] if step else texts, Here(store))
            return set(memory.get(all_of_them))

    assert filled(first) == set(first)
    (shard,) = store.names(one.folder)
    assert filled(all_of_them) == set(all_of_them)
    (Path(store.root) / one.folder / shard).unlink()
    assert filled(all_of_them) == set(all_of_them)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", b"key,text\n1,a,b\n", "row 1"),
        ("a.csv", b"text\n\xff\xfe\n", "UnicodeDecodeError"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "row 2"),
        ("a.jsonl", b"[1]\n", "wanted an object"),
        ("a.parquet", b"no parquet", "row 1"),
        ("a.csv", b"", "without a row"),
        ("a.csv", b"text,text_qal\na,mine\n", "text_qal"),
        ("a.csv", b"other\na\n", "'text'"),
        ("a.txt", b"a", "a.txt"),
    ],
)
def test_a_bad_table_is_told_before_anything_starts(
    store: Store, settings: dict[str, Any], tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    (tmp_path / name).write_bytes(content)
    pair = Pair("5" * 20, "eng", "qal")

    def pool(*_: Any) -> None:
        raise AssertionError("nothing is translated")

    with pytest.raises(InputError, match=found):
        translate_file(store, tmp_path / name, ["text"], pair, settings, tmp_path / "out.csv", pool)
    assert not (tmp_path / "out.csv").exists()


def test_a_long_table_whose_first_fault_comes_late(
    store: Store, settings: dict[str, Any], tmp_path: Path
) -> None:
    file, out = tmp_path / "long.jsonl", tmp_path / "long.parquet"
    late = '{"text": null, "more": 1}\n{}\n'
    file.write_text('{"text": "a cat."}\n' * 1500 + late)
    counts = translate_file(store, file, ["text"], Pair("6" * 20, "eng", "qal"), settings, out, Here(store))
    made = _read(out)
    assert (counts["rows"], counts["failed"]) == (1502, {"empty text": 2})
    assert [row["text_qal_reason"] for row in made[-3:]] == [None, "empty text", "empty text"]
    assert made[1500]["more"] == 1


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif file.suffix == ".tsv":
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _read(file: Path) -> list[dict[str, Any]]:
    from flare_ray.translation.files import read as rows

    return list(rows(file))
