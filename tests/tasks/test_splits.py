"""Labels without a row, and rows that are trained on and tested, are noticed before the start."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from files import question, write_squad
from small_study import write_csv, write_study, write_sweep
from typer.testing import CliRunner

from flare_ray import registry
from flare_ray.cli import app
from flare_ray.errors import Problem
from flare_ray.plan.english import PAIRED, Reads
from flare_ray.tasks._problems import check_rows

NUSAX, XNLI, TYDIQA = (registry.load("tasks", name) for name in ("nusax", "xnli", "tydiqa"))
LABELS = ("negative", "neutral", "positive")
TEST: Reads = {"test": frozenset()}


def nusax(folder: Path, count: int = 12, **labels: tuple[str, ...]) -> str:
    """English and Acehnese with `count` rows per split. labels: of a language and split (`ace_test`), else all."""
    for code, language in (("eng", "english"), ("ace", "acehnese")):
        for split, file in (("train", "train"), ("validation", "valid"), ("test", "test")):
            some = labels.get(f"{code}_{split}") or labels.get(code) or LABELS
            rows = [
                (f"{split}{row}", f"{language} {split} {row}", some[row % len(some)]) for row in range(count)
            ]
            write_csv(folder / language / f"{file}.csv", rows)
    return str(folder)


def found(source: str, reads: Reads = TEST) -> tuple[list[str], list[str]]:
    problems, warnings = check_rows(NUSAX, source, ["ace"], reads, 0.01)
    return [one.found for one in problems], [one.found for one in warnings]


# ---- labels


def test_data_with_all_labels_have_no_problem(tmp_path: Path) -> None:
    assert found(nusax(tmp_path), PAIRED) == ([], [])


def test_two_labels_under_a_task_of_three_are_refused(tmp_path: Path) -> None:
    two = ("negative", "positive")
    problems, warnings = found(nusax(tmp_path, eng=two, ace=two), PAIRED)
    assert problems == [
        "neutral: no row of eng in train, validation has this label",
        "neutral: no row of ace in train, validation, test has this label",
    ]
    assert warnings == []
    assert NUSAX.problems(str(tmp_path), ["ace"], TEST)[0].wanted.startswith(
        "rows of all labels, negative | neutral"
    )


@pytest.mark.parametrize(("count", "refused"), [(8, False), (9, True)])
def test_few_rows_may_lack_a_label(tmp_path: Path, count: int, refused: bool) -> None:
    problems, warnings = found(nusax(tmp_path, count, ace_test=("negative", "neutral")))
    assert (problems, warnings)[not refused] == ["positive: no row of ace in test has this label"]
    assert (problems, warnings)[refused] == []


def test_a_label_that_is_tested_must_be_trained(tmp_path: Path) -> None:
    problems, warnings = found(nusax(tmp_path, eng_train=("negative", "positive")))
    assert problems == ["neutral: no row of the eng train split has this label, and others have"]
    assert warnings == []
    folder = tmp_path / "target"
    problems, _ = found(nusax(folder, ace_train=("neutral", "positive")), dict.fromkeys(PAIRED, frozenset()))
    assert problems == ["negative: no row of the ace train split has this label, and others have"]


def test_a_label_that_one_small_split_lacks_is_a_warning(tmp_path: Path) -> None:
    problems, warnings = found(nusax(tmp_path, eng_validation=("negative", "positive")))
    assert problems == []
    assert warnings == ["neutral: no row of the eng validation split has this label, and others have"]


def test_labels_in_another_order_show_without_english_beside_them(tmp_path: Path) -> None:
    """A zero-shot run reads no English at test, and its scores would be as wrong."""
    source = nusax(tmp_path, 60, ace_test=LABELS[::-1])
    ((problem,), _) = found(source)
    assert (
        "in 20 of 60 (in at least 95% with negative read as positive, positive read as negative)" in problem
    )
    drawn = random.Random(1)
    rows = [(f"test{row}", f"other words {row}", drawn.choice(LABELS)) for row in range(60)]
    write_csv(tmp_path / "acehnese" / "test.csv", rows)
    assert found(source) == ([], []), "rows of its own, known by the same ids"
    assert len(found(source, PAIRED)[0]) == 1


def test_single_labels_that_differ_from_english_are_a_warning(tmp_path: Path) -> None:
    source = nusax(tmp_path, 60)
    rows = [(f"test{row}", f"words {row}", LABELS[(row + (row < 3)) % 3]) for row in range(60)]
    write_csv(tmp_path / "acehnese" / "test.csv", rows)
    assert found(source, PAIRED) == (
        [],
        ["the ace test split: 3 of 60 rows have another label than their English row"],
    )


def test_what_was_found_once_is_looked_for_again_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = nusax(tmp_path, 60)
    assert found(source, PAIRED) == ([], [])
    with monkeypatch.context() as patched:
        patched.setattr(NUSAX, "read", None)  # nothing is read again
        assert found(source, PAIRED) == ([], [])
    nusax(tmp_path, 60, ace_test=LABELS[::-1])
    assert len(found(source, PAIRED)[0]) == 1
    (tmp_path / "acehnese" / "test.csv").unlink()
    assert "no file" in found(source, PAIRED)[0][0]
    nusax(tmp_path, 60)
    assert found(source, PAIRED) == ([], [])


# ---- copies


@pytest.mark.parametrize("language", ["english", "acehnese"])
@pytest.mark.parametrize("count", [1, 12])
def test_test_rows_that_are_training_rows_are_noticed(tmp_path: Path, language: str, count: int) -> None:
    source = nusax(tmp_path)
    rows = [(f"test{row}", f"{language} train {row}", LABELS[row % 3]) for row in range(count)]
    rows += [(f"test{row}", f"{language} test {row}", LABELS[row % 3]) for row in range(count, 12)]
    write_csv(tmp_path / language / "test.csv", rows)
    code = {"english": "eng", "acehnese": "ace"}[language]
    assert found(source, PAIRED) == ([], [f"{count} of 12 test rows of {code} are train rows too"])


def test_the_largest_share_of_copies_is_named_first(tmp_path: Path) -> None:
    nusax(tmp_path)
    for name in ("english", "acehnese"):
        train = (tmp_path / name / "train.csv").read_text(encoding="utf-8")
        for split in ("valid", "test"):
            (tmp_path / name / f"{split}.csv").write_text(
                train.replace("train0", f"{split}0"), encoding="utf-8"
            )
    (warning,) = found(str(tmp_path), PAIRED)[1]
    assert warning.startswith("12 of 12 ")
    assert warning.endswith("; and 1 more")


def test_a_question_asked_again_of_another_passage_is_no_copy(tmp_path: Path) -> None:
    for name in ("english", "swahili"):
        for split in ("train", "dev", "test"):
            rows = [
                question(f"{split}-{row}", f"in 1918 {name} {split} {row}", ("1918", 3)) for row in range(9)
            ]
            for row in rows:
                row["question"] = "when?"
            write_squad(tmp_path / f"{name}.{split}.json", rows)
    assert check_rows(TYDIQA, str(tmp_path), ["sw"], TEST, 0.01) == ([], [])


# ---- questions

YEARS = [1900 + 7 * number for number in range(40)]


def xquad(folder: Path, order: Callable[[list[int]], list[int]], per_passage: int = 2) -> list[Problem]:
    """English and Arabic with one id per question; the Arabic questions of the ids that `order` gives."""
    for name, numbers in (("en", list(range(40))), ("ar", order(list(range(40))))):
        rows = []
        for row_id, number in enumerate(numbers):
            year, passage = str(YEARS[number]), number // per_passage
            context = f"{name} {passage}: " + " ".join(
                str(YEARS[one]) for one in range(40) if one // per_passage == passage
            )
            rows.append(question(f"q{row_id}", context, (year, context.index(year))))
        write_squad(folder / f"xquad.{name}.json", rows)
    return TYDIQA.problems(str(folder), ["ar"], PAIRED, 1.0)


def shuffled(numbers: list[int]) -> list[int]:
    return random.Random(1).sample(numbers, len(numbers))


@pytest.mark.parametrize("per_passage", [1, 2])
def test_other_questions_under_the_same_ids_are_refused(tmp_path: Path, per_passage: int) -> None:
    assert xquad(tmp_path / "right", list, per_passage) == []
    text = " ".join(map(str, xquad(tmp_path / "wrong", shuffled, per_passage)))
    assert "the ar train split: answers with numbers share one with their English in" in text
    assert ("questions of one passage stand in one English passage in" in text) == (per_passage > 1)


def test_swapped_questions_of_one_passage_show_in_their_answers(tmp_path: Path) -> None:
    problems = xquad(tmp_path, lambda numbers: [one ^ 1 for one in numbers])
    assert problems
    assert all("answers with numbers share one" in problem.found for problem in problems)


# ---- files


@pytest.mark.parametrize("source", ["sandbox", "org/corpus"])
def test_only_a_folder_has_translations_beside_its_splits(source: str) -> None:
    (problem,), warnings = check_rows(XNLI, source, ["sw"], {"test": frozenset({"beside"})}, 0.01)
    assert f"no English translation of the test split in {source}" in problem.found
    assert warnings == []
    assert check_rows(XNLI, source, ["sw"], PAIRED, 0.01) == ([], [])


def test_warnings_are_printed_by_plan_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fields = write_study(tmp_path)
    rows = [(number, f"acehnese words of row {number - 9}", "neutral") for number in range(9, 12)]
    write_csv(tmp_path / "data" / "acehnese" / "test.csv", rows)
    changes = {"methods": ["zero_shot"], "languages": ["ace"]}
    done = CliRunner().invoke(app, ["plan", str(write_sweep(tmp_path / "sweep.yaml", fields | changes))])
    assert done.exit_code == 0, done.output
    assert (
        "warning: data.nusax: found negative, positive: no row of ace in test has this label" in done.output
    )
