"""Tables as they are written by hand, by spreadsheets and by programs: every row comes out, or its line is named."""

import csv
import gzip
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flare_ray.errors import InputError
from flare_ray.tables.reader import describe, header, records, strict_records
from flare_ray.tables.text import is_blank, visible_part

ROWS = [
    {"id": "1", "text": 'he said "no", twice', "label": "neutral"},
    {"id": "2", "text": "a; b | c", "label": "positive"},
    {"id": "3", "text": "", "label": "negative"},
]


def written(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


# ---- one table in every format


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiter_and_quotes_are_found(
    tmp_path: Path, suffix: str, delimiter: str, quoting: Any, end: str
) -> None:
    file = tmp_path / f"test{suffix}"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(
            stream, list(ROWS[0]), delimiter=delimiter, quoting=quoting, lineterminator=end
        )
        writer.writeheader()
        writer.writerows(ROWS)
    assert list(records(file)) == list(strict_records(file)) == ROWS
    assert header(file) == ["id", "text", "label"]
    assert bool(describe(file)) == ((suffix, delimiter) != (".csv", ","))


def test_json_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    files = [
        written(tmp_path / "a.jsonl", lines),
        written(tmp_path / "a.json", json.dumps(ROWS, indent=1)),
        written(tmp_path / "b.json", lines),
    ]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for file in [*files, tmp_path / "a.parquet"]:
        assert list(strict_records(file)) == ROWS
        assert header(file) == ["id", "text", "label"]


def test_a_tsv_with_values_in_quotes_may_hold_tabs_and_line_ends(tmp_path: Path) -> None:
    rows = [["text", "label"], ["one\ttwo", "0"], ["three\nfour", "1"]]
    file = tmp_path / "a.tsv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows(rows)
    assert [list(row.values()) for row in records(file)] == rows[1:]
    assert "quoted" in describe(file)


@pytest.mark.parametrize("text", ['"good"', 'no "end" here', '"he said', 'ends"', '""', '"a" and "b"'])
def test_quotes_of_a_tsv_are_letters_where_nothing_else_says_so(tmp_path: Path, text: str) -> None:
    file = written(tmp_path / "a.tsv", f"text\tlabel\n{text}\t0\nplain\t1\n")
    assert [row["text"] for row in records(file)] == [text, "plain"]
    assert describe(file) == ""


def test_names_of_classes_in_parquet(tmp_path: Path) -> None:
    names = {"label": {"_type": "ClassLabel", "names": ["negative", "neutral"]}, "text": {"_type": "Value"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": names}}).encode()}
    table = pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(records(tmp_path / "a.parquet")) == [{"text": "a", "label": "neutral"}]
    assert list(strict_records(tmp_path / "a.parquet")) == [{"text": "a", "label": 1}]


# ---- what is refused, with its line


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", 'id,text\n1,a\n2,"b\n3,c\n', "line 3"),
        ("a.csv", 'id,text\n1,a\n2,"b" c\n3,c\n', "line 3"),
        ("a.csv", 'id,text\n1,a\n2,"b\n3,"c"\n', "line 3"),
        ("a.csv", "id,text\n1,a\n2,b\rc\n", "line 3.*carriage return"),
        ("a.csv", "id,text\n1,a\n\n2,b\n", "line 3"),
        ("a.csv", "id,text\n1,a\n2,b,c\n", "line 3.*3 values under 2 columns"),
        ("a.csv", "id,text\n1,a\n2\n", "line 3.*1 values under 2 columns"),
        ("a.csv", "text,text\na,b\n", "'text' twice"),
        ("a.csv", "text, text \na,b\n", "'text' twice"),
        ("a.csv", b"id,text\n1,a\n2,\xff\n", "line 3"),
        ("a.csv", "id,text\n1,a\n2,b\0c\n", "row 2.*NUL"),
        ("a.tsv", "id\ttext\n1\ta\n\n2\tb\n", "line 3"),
        ("a.tsv", "id\ttext\n1\ta\n2\tb\tc\n", "line 3"),
        ("a.tsv", "\nid\ttext\n1\ta\n", "line 1.*blank line"),
        ("a.jsonl", '{"text": "a"}\n{"text": "a", "text": "b"}\n', "line 2.*twice"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"} more\n', "line 2"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": "b"}\n', "line 2.*blank"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', "line 2"),
        ("a.json", '[{"text": "a"}]\nmore', "line 2"),
        ("a.json", '[{"text": "a"},\n 7]', "line 2"),
        ("a.json", '[{"text": "a"}', "a.json"),
        ("a.csv", "id,text\n".encode("utf-16"), "UTF-16.*iconv"),
        ("a.csv", "id,text\n".encode("utf-16-le"), "UTF-16"),
        ("a.tsv", gzip.compress(b"id\ttext\n"), "gzip.*unpack"),
        ("a.parquet", b"no parquet", "a.parquet.*Parquet"),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, found: str
) -> None:
    file = written(tmp_path / name, content)
    with pytest.raises(InputError, match=found):
        list(header(file) and strict_records(file))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_blank_lines_of_one_column_are_rows(tmp_path: Path, suffix: str) -> None:
    file = written(tmp_path / f"a{suffix}", "text\n\na\n\n\nb\n\n")
    assert [row["text"] for row in strict_records(file)] == ["", "a", "", "", "b", ""]
    assert [row["text"] for row in records(file)] == ["", "a", "", "", "b"]


def test_old_line_ends_and_those_of_two_systems(tmp_path: Path) -> None:
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        text = f"id{delimiter}text\r1{delimiter}a\r2{delimiter}b\r"
        rows = [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]
        assert list(strict_records(written(tmp_path / f"old{suffix}", text))) == rows
        mixed = text.replace("\r", "\r\n", 1).replace("a\r", "a\n").replace("b\r", "b\r\n")
        assert list(strict_records(written(tmp_path / f"mixed{suffix}", mixed))) == rows


def test_long_cells_are_read_whatever_was_set_before(tmp_path: Path) -> None:
    long = "word " * 40_000
    file = written(tmp_path / "a.csv", f"id,text\n1,{long}\n")
    before = csv.field_size_limit(131_072)
    try:
        assert [row["text"] for row in records(file)] == [long]
    finally:
        csv.field_size_limit(before)


def test_names_of_columns_without_what_nobody_sees(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "\ufeff id ,\u200btext\u00a0\n1,a\n")
    assert header(file) == ["id", "text"]
    assert list(records(file)) == [{"id": "1", "text": "a"}]


# ---- invisible texts


def test_every_invisible_character_is_blank_and_no_other() -> None:
    prepended = {
        0x600,
        0x601,
        0x602,
        0x603,
        0x604,
        0x605,
        0x6DD,
        0x70F,
        0x890,
        0x891,
        0x8E2,
        0x110BD,
        0x110CD,
    }
    for number in range(sys.maxunicode + 1):
        kind = unicodedata.category(chr(number))
        if kind in ("Zs", "Zl", "Zp", "Cc") or (kind == "Cf" and number not in prepended):
            assert is_blank(chr(number)) or 0x13430 <= number <= 0x1343F, hex(number)
        elif kind[0] in "LNPS" and number not in (0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0, 0x1D159):
            assert not is_blank(chr(number)), hex(number)
    assert all(map(is_blank, ("", "\u2800\u3164\ufe0f\u034f\u115f\U000e0100 \u00a0\u00ad\u061c")))
    assert visible_part("\u200b a\u200bb\ufeff") == "a\u200bb"
