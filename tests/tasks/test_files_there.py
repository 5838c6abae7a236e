"""Every format and every name of a language for each task; files that are there and not read are named."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from files import question, write_squad, write_tsv
from small_study import write_csv, write_data

from flare_ray import registry
from flare_ray.errors import InputError
from flare_ray.tasks._unread import differ, unread_files
from flare_ray.tasks.base import Task

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
CONTEXT = "It was in 1918."
TABLES: dict[str, list[dict[str, Any]]] = {
    "nusax": [{"id": str(number), "text": f"words, {number}", "label": "neutral"} for number in range(5)],
    "xnli": [{"premise": f"a {number}", "hypothesis": "b", "label": "neutral"} for number in range(5)],
    "tydiqa": [
        {
            "id": str(number),
            "context": CONTEXT,
            "question": f"when {number}?",
            "answers": [{"text": "1918", "answer_start": 10}],
        }
        for number in range(5)
    ],
}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="," if file.suffix == ".csv" else "\t")
            writer.writeheader()
            for row in rows:
                writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
    return file


def file_of(task: str, folder: Path, language: str, suffix: str, split: str = "test") -> Path:
    return (
        folder / language / f"{split}{suffix}" if task == "nusax" else folder / f"{language}.{split}{suffix}"
    )


def load(name: str) -> Task:
    return registry.load("tasks", name)


@pytest.mark.parametrize("task", TABLES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows(tmp_path: Path, task: str, suffix: str) -> None:
    language = "bjn" if task == "nusax" else "sw"
    folder = tmp_path / "data"
    write(file_of(task, folder, language, suffix), TABLES[task])
    rows = load(task).read(str(folder), language, "test").table
    columns = load(task).text_columns
    assert [[row[name] for name in columns] for row in rows.to_pylist()] == [
        [row[name] for name in columns] for row in TABLES[task]
    ]
    assert load(task).targets(str(folder)) == [language]
    assert unread_files(load(task), str(folder)) == []


@pytest.mark.parametrize(
    ("task", "code", "names"),
    [
        ("nusax", "bjn", ("banjarese", "bjn", "bjn_Latn", "Banjarese")),
        ("xnli", "sw", ("sw", "swa", "swh", "swahili", "swh_Latn")),
        ("tydiqa", "sw", ("sw", "swa", "swh", "swahili", "swh_Latn")),
    ],
)
def test_a_language_by_any_of_its_names(tmp_path: Path, task: str, code: str, names: tuple[str, ...]) -> None:
    found = []
    for name in names:
        folder = tmp_path / name
        write(file_of(task, folder, name, ".csv"), TABLES[task])
        assert load(task).targets(str(folder)) == [code]
        found.append(load(task).read(str(folder), code, "test").table.to_pylist())
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("task", TABLES)
def test_no_name_belongs_to_two_languages(task: str) -> None:
    owners: dict[str, str] = {}
    for code in (load(task).source_language, *load(task).languages):
        for name in load(task).aliases(code):
            assert owners.setdefault(name, code) == code


def test_what_was_read_before_is_read_first(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "nusax")
    before = load("nusax").identity(str(folder), "ace"), load("nusax").files(str(folder), "ace")
    for name in ("ace", "ace_Latn"):
        write_csv(folder / name / "test.csv", [("1", "other", "neutral")])
    write(folder / "acehnese" / "test.jsonl", TABLES["nusax"])
    assert (load("nusax").identity(str(folder), "ace"), load("nusax").files(str(folder), "ace")) == before
    xnli = tmp_path / "xnli"
    file = write(xnli / "sw.test.tsv", TABLES["xnli"])
    write(xnli / "swh_Latn.test.tsv", TABLES["xnli"])
    write(xnli / "sw.test.csv", TABLES["xnli"])
    assert load("xnli").files(str(xnli), "sw") == [file]
    questions = tmp_path / "tydiqa"
    for split in ("train", "dev"):
        write_squad(questions / f"sw.{split}.json", [question(split, CONTEXT, ("1918", 10))])
    before = load("tydiqa").identity(str(questions), "sw"), load("tydiqa").files(str(questions), "sw")
    write(questions / "sw.test.jsonl", TABLES["tydiqa"])
    assert (
        load("tydiqa").identity(str(questions), "sw"),
        load("tydiqa").files(str(questions), "sw"),
    ) == before


def test_files_that_are_not_read_are_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("sw.test.tsv", "en.test.tsv", "sw.dev2.tsv", "hr.train.csv", "sw.test.jsonl"):
        write(tmp_path / name, TABLES["xnli"])
    write(tmp_path / "de.test.csv", TABLES["nusax"])
    for name in ("sw.train.xlsx", "de.train.tsv.gz", "README.md", "LICENSE.txt", ".hidden.csv"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = {one.file.name: one.reason for one in unread_files(load("xnli"), str(tmp_path))}
    assert set(found) == {
        "sw.dev2.tsv", "hr.train.csv", "sw.test.jsonl", "de.test.csv", "sw.train.xlsx", "de.train.tsv.gz",
    }  # fmt: skip
    for name, part in {
        "sw.dev2.tsv": "'dev2'",
        "hr.train.csv": "hr has no test split",
        "sw.test.jsonl": "sw.test.tsv is read",
        "de.test.csv": "hypothesis",
        "sw.train.xlsx": "convert",
        "de.train.tsv.gz": "unpack",
    }.items():
        assert part in found[name]
    with pytest.raises(InputError, match=r"no file .*sw.train.tsv \(there and not read: .*unpack"):
        load("xnli").read(str(tmp_path), "sw", "train")


@pytest.mark.parametrize("same", [True, False])
def test_two_folders_for_one_language(tmp_path: Path, same: bool) -> None:
    rows = TABLES["nusax"]
    write(tmp_path / "banjarese" / "test.csv", rows)
    write(tmp_path / "bjn" / "test.jsonl", rows if same else rows[1:])
    (one,) = unread_files(load("nusax"), str(tmp_path))
    assert "banjarese/test.csv is read for the test split of bjn" in one.reason
    assert differ(load("nusax"), one) is not same


def test_a_tsv_in_quotes_changes_the_identity_and_no_other_does(tmp_path: Path) -> None:
    plain = write_tsv(
        tmp_path / "plain" / "sw.test.tsv", ("premise", "hypothesis", "label"), [('"a"', "b", 0)]
    )
    quoted = write(
        tmp_path / "quoted" / "sw.test.tsv", [{"premise": 'a "b"', "hypothesis": "c", "label": "0"}]
    )
    assert set(load("xnli").identity(str(plain.parent), "sw")) == {"content"}
    assert set(load("xnli").identity(str(quoted.parent), "sw")) == {"content", "quoted_tsv"}
    (row,) = load("xnli").read(str(quoted.parent), "sw", "test").table.to_pylist()
    assert row["premise"] == 'a "b"'


@pytest.mark.parametrize("text", ["\u200b\u200e", "\u00a0", "\ufeff", "\u3164", "\u2800\ufe0f"])
def test_invisible_text_is_empty(tmp_path: Path, text: str) -> None:
    write(tmp_path / "sw.test.tsv", [*TABLES["xnli"], {"premise": text, "hypothesis": "b", "label": "0"}])
    assert load("xnli").read(str(tmp_path), "sw", "test", max_dropped=0.5).dropped == {"empty text": 1}


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
@pytest.mark.parametrize(
    ("text", "changes"), [("\u200b", True), (" \ufeff ", True), ("a\u200b", False), (" ", False)]
)
def test_invisible_texts_change_the_identity_of_rows_that_lose_them(
    tmp_path: Path, suffix: str, text: str, changes: bool
) -> None:
    row = {"premise": text, "hypothesis": "b", "label": "0"}
    write(tmp_path / f"sw.test{suffix}", [*TABLES["xnli"], row])
    write(tmp_path / f"de.test{suffix}", TABLES["xnli"])
    assert ("invisible_texts" in load("xnli").identity(str(tmp_path), "sw")) is changes
    assert set(load("xnli").identity(str(tmp_path), "de")) == {"content"}


@pytest.mark.parametrize(("context", "changes"), [("\u200b", True), ("\u00e9t\u00e9", False)])
def test_escaped_letters_of_squad_json_change_no_identity(
    tmp_path: Path, context: str, changes: bool
) -> None:
    file = write_squad(tmp_path / "sw.test.json", [question("1", context, ("x", 0))])
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    assert ("invisible_texts" in load("tydiqa").identity(str(tmp_path), "sw")) is changes


def test_squad_json_by_any_name_of_its_language(tmp_path: Path) -> None:
    write_squad(tmp_path / "swh_Latn.test.json", [question("1", CONTEXT, ("1918", 10))])
    assert load("tydiqa").read(str(tmp_path), "sw", "test").table["id"].to_pylist() == ["1"]


def test_two_folders_of_a_language_that_is_not_asked_for_stop_nothing(tmp_path: Path) -> None:
    from flare_ray.inputs.data_files import check_data_files
    from flare_ray.inputs.findings import Findings
    from flare_ray.plan.schema import Sweep

    data = write_data(tmp_path / "data", ["english", "acehnese", "banjarese", "bjn"])
    for language, stops in (("ace", False), ("bjn", True)):
        fields = {
            "name": "a",
            "models": ["sandbox-xlm-r"],
            "tasks": ["nusax"],
            "methods": ["lora"],
            "seeds": [1],
        }
        sweep = Sweep.model_validate(
            fields | {"languages": [language], "data": {"nusax": str(data)}, "storage": str(tmp_path)}
        )
        found = Findings()
        check_data_files(sweep, found)
        assert bool(found.problems) is stops
        assert len(found.problems + found.warnings) == 3, "the bjn folder's files are named all the same"


@pytest.mark.parametrize("folder", ["ACEHNESE", "Acehnese", "ace", "Ace", "ACE", "ace_Latn"])
def test_a_folder_may_write_its_language_in_any_usual_case(folder: str, tmp_path: Path) -> None:
    write_data(tmp_path, ["english", folder])
    assert load("nusax").targets(str(tmp_path)) == ["ace"]
    assert load("nusax").read(str(tmp_path), "ace", "test").table.num_rows == 3
