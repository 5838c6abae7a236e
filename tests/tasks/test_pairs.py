"""Rows that stand beside another row's English are refused, whatever put them there."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from files import write_jsonl, write_tsv
from small_study import write_csv, write_study, write_sweep
from typer.testing import CliRunner

from flare_ray import registry
from flare_ray.cli import app
from flare_ray.errors import InputError
from flare_ray.plan.english import english_of
from flare_ray.tasks._pairs import agreement
from flare_ray.tasks._problems import check_rows
from flare_ray.training.data import pair

XNLI, NUSAX = (registry.load("tasks", name) for name in ("xnli", "nusax"))
LABELS = ("entailment", "neutral", "contradiction")
COLUMNS = ("premise", "hypothesis", "label")
SPLITS = ("train", "dev", "test")
Table = list[list[Any]]


def rows(count: int, seed: int = 1) -> Table:
    drawn = random.Random(seed)
    return [[f"premise {number}", f"hypothesis {number}", drawn.choice(LABELS)] for number in range(count)]


def numbered(table: Table) -> tuple[str, ...]:
    for number, row in enumerate(table):
        row.append(str(31_000 + number))
    return (*COLUMNS, "pairID")


@pytest.fixture
def xnli(tmp_path: Path) -> Callable[..., list[str]]:
    """Write English and a target language whose test rows are changed; return the problems' texts."""

    def problems(change: Callable[[Table], Any], pair_ids: bool = False) -> list[str]:
        for name in ("en", "sw"):
            for split in SPLITS:
                table, columns = rows(60), COLUMNS
                if pair_ids:
                    columns = numbered(table)
                if (name, split) == ("sw", "test"):
                    table = change(table) or table
                write_tsv(tmp_path / f"{name}.{split}.tsv", columns, table)
        return [str(problem) for problem in XNLI.problems(str(tmp_path), ["sw"])]

    return problems


def reversed_labels(table: Table) -> None:
    for row in table:
        row[2] = LABELS[2 - LABELS.index(row[2])]


CHANGES: dict[str, Callable[[Table], Any]] = {
    "a row is missing": lambda table: table[:1] + table[2:],
    "the last row is missing": lambda table: table[:-1],
    "a row comes twice": lambda table: table.insert(1, table[1]),
    "another order": lambda table: random.Random(3).shuffle(table),
    "a subset of other rows": lambda table: rows(25, seed=9),
    "as many rows of another corpus": lambda table: rows(60, seed=9),
    "labels in another order": reversed_labels,
    "all moved by one": lambda table: table[1:] + table[:1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_are_known_by_their_place_must_be_english_rows(
    change: str, xnli: Callable[..., list[str]]
) -> None:
    assert xnli(lambda table: None) == []
    found = " ".join(xnli(CHANGES[change]))
    assert "the sw test split" in found
    assert "rows beside English's 60" in found or "labels equal the English rows' in" in found


def test_an_example_shows_both_texts_and_labels(xnli: Callable[..., list[str]]) -> None:
    (found,) = xnli(reversed_labels)
    table = rows(60)
    number = next(number for number, row in enumerate(table) if row[2] != "neutral")
    mine, other = LABELS[2 - LABELS.index(table[number][2])], table[number][2]
    text = f"'premise {number} / hypothesis {number}'"
    assert f"test-{number}: {text} {mine}, English {text} {other}" in found


@pytest.mark.parametrize("change", ["a row is missing", "another order", "all moved by one"])
def test_a_pair_id_pairs_rows_in_any_order(
    change: str, xnli: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert xnli(CHANGES[change], pair_ids=True) == []
    english, target = (XNLI.read(str(tmp_path), name, "test").table for name in ("eng", "sw"))
    found = agreement(target, english)
    assert found.pairs == found.equal == len(target)
    places = {row["id"]: row["premise"] for row in english.to_pylist()}
    assert all(places[row["id"]] == row["premise"] for row in target.to_pylist())


@pytest.mark.parametrize("kept", [slice(5, None), slice(5, 40), slice(None, None, 3), slice(2, None, 3)])
@pytest.mark.parametrize("shorter", ["sw", "en"])
def test_a_pair_id_pairs_a_subset_without_the_first_row(shorter: str, kept: slice, tmp_path: Path) -> None:
    for name in ("en", "sw"):
        table = rows(60)
        columns = numbered(table)
        for split in SPLITS:
            part = table[kept] if (name, split) == (shorter, "test") else table
            write_tsv(tmp_path / f"{name}.{split}.tsv", columns, part)
    problems = [str(problem) for problem in XNLI.problems(str(tmp_path), ["sw"])]
    english, target = (XNLI.read(str(tmp_path), name, "test").table for name in ("eng", "sw"))
    places = {row["id"]: row["premise"] for row in english.to_pylist()}
    assert all(places.get(row["id"], row["premise"]) == row["premise"] for row in target.to_pylist())
    assert agreement(target, english).pairs == len(rows(60)[kept])
    if shorter == "sw":
        assert problems == []
    else:
        assert len(problems) == 1
        assert "without an English row" in problems[0]


@pytest.mark.parametrize("row_id", [None, "", " 4"])
def test_a_row_without_an_id_is_named(row_id: str | None, tmp_path: Path) -> None:
    labels = ("negative", "neutral", "positive")
    for language in ("english", "acehnese"):
        for name in ("train", "valid", "test"):
            table = [{"id": str(n), "text": f"text {n}", "label": labels[n % 3]} for n in range(12)]
            if (language, name) == ("acehnese", "test"):
                table[4]["id"] = row_id  # type: ignore[assignment]
            (tmp_path / language).mkdir(exist_ok=True)
            write_jsonl(tmp_path / language / f"{name}.jsonl", table)
    (found,) = NUSAX.problems(str(tmp_path), ["ace"])
    expected = "1 of 12 rows without an id" if row_id is None else f"(such as {row_id!r})"
    assert expected in found.found


@pytest.mark.parametrize(
    ("name", "moved"),
    [("{}", False), ("{}", True), ("31{:03}", False), ("31{:03}", True), ("31{:03}n", False)],
)
def test_only_a_pair_id_that_is_not_the_place_changes_what_rows_are(
    name: str, moved: bool, tmp_path: Path
) -> None:
    """The original release counts its rows: finished work on it stays what it is."""
    table = [[*row, name.format(1 + number)] for number, row in enumerate(rows(9))]
    table = table[1:] + table[:1] if moved else table
    for language in ("en", "sw"):
        write_tsv(tmp_path / f"{language}.test.tsv", (*COLUMNS, "pairID"), table)
    by_place = not moved and not name.endswith("n")
    assert ("pairs" in XNLI.identity(str(tmp_path), "sw")) is not by_place
    ids = XNLI.read(str(tmp_path), "sw", "test").table["id"].to_pylist()
    assert (ids == [f"test-{number}" for number in range(9)]) is by_place


@pytest.mark.parametrize("fault", ["shuffled apart", "reset index", "another label order"])
def test_rows_with_ids_must_have_their_english_rows_label(fault: str, tmp_path: Path) -> None:
    labels, drawn = ("negative", "neutral", "positive"), random.Random(1)
    english = [[str(number), f"text {number}", drawn.choice(labels)] for number in range(60)]
    target = [list(row) for row in english]
    if fault != "another label order":
        random.Random(2).shuffle(target)
        for number, row in enumerate(target):
            row[0] = str(number) if fault == "reset index" else english[number][0]
    else:
        for row in target:
            row[2] = labels[2 - labels.index(row[2])]
    for language, table in (("english", english), ("acehnese", target)):
        for name in ("train", "valid", "test"):
            write_csv(tmp_path / language / f"{name}.csv", table)
    found = NUSAX.problems(str(tmp_path), ["ace"])
    assert len(found) == 3
    assert all("labels equal the English rows' in" in problem.found for problem in found)


def test_few_labels_may_differ_and_are_counted() -> None:
    table = pa.table(
        {"id": [str(number) for number in range(100)], "text": ["a"] * 100, "label": ["x"] * 100}
    )
    for wrong, refused in ((5, False), (6, True)):
        other = table.set_column(2, "label", pa.chunked_array([["y"] * wrong + ["x"] * (100 - wrong)]))
        found = agreement(table, other)
        assert (found.differ, found.refused) == (wrong, refused)


def test_a_run_refuses_what_the_plan_could_not_read() -> None:
    """Rows of the hub are paired for the first time in the run."""
    from flare_ray.forms._features import Builder

    def features(labels: list[str]) -> Any:
        builder = Builder()
        for number in range(len(labels)):
            builder.add([1], row=number)
        ids = [str(number) for number in range(len(labels))]
        return builder.finish(pa.table({"id": ids, "text": ids, "label": labels}))

    english = features(["x", "y", "z"] * 20)
    assert pair(english, english).differ == 0
    with pytest.raises(InputError, match=r"labels equal the English rows' in 0 of 60"):
        pair(features(["y", "z", "x"] * 20), english)


@pytest.mark.parametrize("read", ["own", "beside"])
@pytest.mark.parametrize("copied", [4, 60])
def test_texts_that_are_their_english_are_a_warning(copied: int, read: str, tmp_path: Path) -> None:
    english = rows(60)
    target = [
        [f"maneno {number}", *row[1:]] if number >= copied else row for number, row in enumerate(english)
    ]
    for split in SPLITS:
        write_tsv(tmp_path / f"en.{split}.tsv", COLUMNS, english)
        write_tsv(tmp_path / f"sw.{split}.tsv", COLUMNS, target)
    write_tsv(tmp_path / "sw.test.english.tsv", COLUMNS, english)
    problems, warnings = check_rows(XNLI, str(tmp_path), ["sw"], {"test": frozenset({read})}, 0.01)  # type: ignore[arg-type]
    assert problems == []
    found = [one.found for one in warnings if "texts of their English" in one.found]
    assert found == (
        ["60 of 60 rows of the sw test split have the texts of their English row"] if copied == 60 else []
    )


@pytest.mark.parametrize("wrong", [0, 2, 3])
def test_labels_of_a_translation_are_compared(wrong: int, tmp_path: Path) -> None:
    table = rows(40)
    write_tsv(tmp_path / "sw.test.tsv", COLUMNS, table)
    english = [
        {"premise": "a", "hypothesis": "b", "label": "neutral" if row[2] != "neutral" else "entailment"}
        if number < wrong
        else {"premise": "a", "hypothesis": "b", "label": row[2]}
        for number, row in enumerate(table)
    ]
    write_jsonl(tmp_path / "sw.test.english.jsonl", english)
    if wrong <= 2:
        assert XNLI.read_translation(str(tmp_path), "sw", "test") is not None
        return
    with pytest.raises(InputError, match="labels equal the split's in 37 of 40, row test-0 has"):
        XNLI.read_translation(str(tmp_path), "sw", "test")


# ---- which English is read


@pytest.mark.parametrize(
    ("split", "at_test", "translation", "english"),
    [
        ("train", "translation", "files", "own"),
        ("validation", "none", "machine", "own"),
        ("test", "translation", "gold", "own"),
        ("test", "translation", "files", "beside"),
        ("test", "translation", "machine", "machine"),
        ("test", "gold", "files", "own"),
        ("test", "none", "files", "none"),
    ],
)
def test_the_english_of_a_split(split: str, at_test: str, translation: str, english: str) -> None:
    found = english_of(split, reads_source=True, source_at_test=at_test, translation=translation)
    assert found == english
    assert english_of(split, reads_source=False, source_at_test=at_test, translation=translation) == "none"


def test_files_that_are_not_there_are_an_error_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    fields = write_study(tmp_path) | {"translation": "files", "methods": ["flare"]}

    def plan(**changes: Any) -> tuple[int, str]:
        file = write_sweep(tmp_path / "sweep.yaml", fields | changes)
        done = CliRunner().invoke(app, ["plan", str(file)])
        return done.exit_code, done.output + done.stderr

    code, output = plan()
    assert code == 2
    for language in ("ace", "jav"):
        assert f"no English translation of the {language} test split" in output
    assert plan(methods=["lora"])[0] == 0, "reads no English"
    assert plan(methods=[{"name": "flare", "train_only": True}])[0] == 0, "reads none at test"
    for language in ("acehnese", "javanese"):
        table = list(csv.reader((tmp_path / "data" / language / "test.csv").open(encoding="utf-8")))[1:]
        for split in ("valid", "train"):  # English of training rows is the corpus's own: these are not read
            write_csv(tmp_path / "data" / language / f"{split}.english.csv", table)
    assert plan()[0] == 2
    for language in ("acehnese", "javanese"):
        write_csv(tmp_path / "data" / language / "test.english.csv", table)
    assert plan()[0] == 0
