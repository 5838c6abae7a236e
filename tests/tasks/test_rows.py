"""The cache of clean rows: whole or not there, known by content, shared by processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from files import write_tsv
from small_study import write_csv, write_data

from flare_ray.tasks._rows import Unusable, cached
from flare_ray.tasks.nusax import TASK
from flare_ray.tasks.xnli import TASK as XNLI

SCHEMA = pa.schema([("id", pa.string())])


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "rows").iterdir())


def test_rows_are_memory_mapped(tmp_path: Path, cache: Path) -> None:
    write_tsv(tmp_path / "sw.test.tsv", ("premise", "hypothesis", "label"), [("word " * 50, "b", 0)] * 12_000)
    before = pa.total_allocated_bytes()
    table = XNLI.read(str(tmp_path), "sw", "test").table
    assert table.num_rows == 12_000
    assert pa.total_allocated_bytes() - before < table.nbytes / 20
    assert len(kept(cache)) == 1
    assert kept(cache)[0].suffix == ".arrow"


def test_a_copy_elsewhere_is_the_same_and_another_content_is_not(tmp_path: Path, cache: Path) -> None:
    first, copy = (write_data(tmp_path / name) for name in ("first", "copy"))
    tables = [TASK.read(str(folder), "ace", "test").table for folder in (first, copy)]
    assert tables[0].equals(tables[1])
    assert len(kept(cache)) == 1
    write_csv(copy / "acehnese" / "test.csv", [("9", "other", "neutral")])
    assert TASK.read(str(copy), "ace", "test").table["text"].to_pylist() == ["other"]
    assert len(kept(cache)) == 2


def test_each_split_and_language_is_kept_apart_even_with_one_content(tmp_path: Path, cache: Path) -> None:
    rows = [("a", "b", 0)]
    for split in ("dev", "test"):
        write_tsv(tmp_path / f"sw.{split}.tsv", ("premise", "hypothesis", "label"), rows)
    found = [XNLI.read(str(tmp_path), "sw", split).table["id"][0].as_py() for split in ("validation", "test")]
    assert found == ["validation-0", "test-0"]


@pytest.mark.parametrize("kept_bytes", [0, 7, 400, -20])
def test_a_file_cut_short_is_made_again(cache: Path, kept_bytes: int) -> None:
    calls = []

    def rows():
        calls.append(1)
        return iter([{"id": str(number)} for number in range(100)])

    cached({"a": 1}, SCHEMA, rows)
    (file,) = kept(cache)
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert cached({"a": 1}, SCHEMA, rows).table.num_rows == 100
    assert cached({"a": 1}, SCHEMA, rows).table.num_rows == 100
    assert len(calls) == 2


def test_a_failure_in_the_middle_leaves_nothing(cache: Path) -> None:
    def rows():
        for number in range(20_000):
            yield {"id": str(number)}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached({"a": 1}, SCHEMA, rows)
    assert kept(cache) == []


def test_no_rows_are_a_table_too() -> None:
    rows = cached({"a": 1}, SCHEMA, lambda: iter([Unusable("1", "why", "x", "y")]))
    assert rows.table.schema.equals(SCHEMA)
    assert rows.table.num_rows == 0
    assert rows.dropped == {"why": 1}
    assert rows.examples == (Unusable("1", "why", "x", "y"),)


SCRIPT = """
import sys
from flare_ray.tasks.xnli import TASK
rows = TASK.read(sys.argv[1], "sw", "test", max_dropped=0.5)
print(rows.table.num_rows, rows.table["id"][-1], dict(rows.dropped))
print(sorted({"torch", "ray", "datasets", "sklearn"} & set(sys.modules)))
"""


def test_processes_that_write_at_once_read_the_same_whole_rows(tmp_path: Path, cache: Path) -> None:
    """Also: reading a folder imports nothing heavy."""
    rows = [("premise " * 20, "hypothesis", number % 4) for number in range(8000)]
    write_tsv(tmp_path / "sw.test.tsv", ("premise", "hypothesis", "label"), rows)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(4)
    ]
    found = {process.communicate(timeout=120)[0] for process in started}
    assert found == {"6000 test-7998 {'unknown label': 2000}\n[]\n"}
    assert len(kept(cache)) == 1


def test_nusax_translations_lie_beside_the_split(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    write_csv(
        folder / "acehnese" / "valid.english.csv", [("6", "six"), ("8", "eight")], header=("id", "text")
    )
    write_csv(folder / "acehnese" / "test.english.csv", [("x",), ("y",), ("z",)], header=("text",))
    rows = TASK.read_translation(str(folder), "ace", "validation")
    assert rows is not None
    assert [(row["id"], row["text"]) for row in rows.table.to_pylist()] == [("6", "six"), ("8", "eight")]
    labels = TASK.read(str(folder), "ace", "validation").table.to_pylist()
    assert [row["label"] for row in rows.table.to_pylist()] == [labels[0]["label"], labels[2]["label"]]
    by_place = TASK.read_translation(str(folder), "ace", "test")
    assert by_place is not None
    assert by_place.table["id"].to_pylist() == TASK.read(str(folder), "ace", "test").table["id"].to_pylist()
    assert TASK.read_translation(str(folder), "ace", "train") is None
    assert TASK.read_translation("org/corpus", "ace", "train") is None
    assert TASK.problems(str(folder), ["ace"]) == []


def _truncated(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _flipped(file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.index(b"wanted")
    content[place : place + 6] = b"forged"
    file.write_bytes(content)


def _empty(file: Path, other: Path) -> None:
    file.write_bytes(b"")


def _swapped(file: Path, other: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _copied_over_under_its_own_checksum(file: Path, other: Path) -> None:
    key = file.name.partition(".")[0]
    shutil.copyfile(other, file.with_name(f"{key}.{other.name.partition('.')[2]}"))
    file.unlink()


def _linked(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


def _folder(file: Path, other: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = (_truncated, _flipped, _empty, _swapped, _copied_over_under_its_own_checksum, _linked, _folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_noticed_and_made_again(cache: Path, damage: Any) -> None:
    calls = []

    def rows(word: str) -> Iterator[dict[str, str]]:
        calls.append(word)
        return iter([{"id": f"{word} {number}"} for number in range(100)])

    wanted = cached({"a": 1}, SCHEMA, lambda: rows("wanted")).table.to_pylist()
    [file] = kept(cache)
    cached({"a": 2}, SCHEMA, lambda: rows("others"))
    [other] = [one for one in kept(cache) if one != file]
    damage(file, other)
    assert cached({"a": 1}, SCHEMA, lambda: rows("wanted")).table.to_pylist() == wanted
    assert calls == ["wanted", "others", "wanted"]
    assert cached({"a": 1}, SCHEMA, lambda: rows("wanted")).table.to_pylist() == wanted
    assert calls == ["wanted", "others", "wanted"], "once"


def test_rows_of_an_earlier_version_s_cache_are_not_believed(cache: Path) -> None:
    cached({"a": 1}, SCHEMA, lambda: iter([{"id": "right"}]))
    [file] = kept(cache)
    file.rename(file.with_name(f"{file.name.partition('.')[0]}.arrow"))
    assert cached({"a": 1}, SCHEMA, lambda: iter([{"id": "again"}])).table["id"].to_pylist() == ["again"]
