"""The first rows of a split: the same ids in every language, whatever the order of its file and what it lacks."""

from pathlib import Path
from typing import Any

import pytest
from files import question, write_squad, write_tsv
from small_study import write_checkpoint, write_csv, write_data

from flare_ray.plan.corpora import corpus
from flare_ray.plan.schema import Translation
from flare_ray.tasks.base import Task
from flare_ray.tasks.nusax import TASK
from flare_ray.tasks.tydiqa import TASK as TYDIQA
from flare_ray.tasks.xnli import TASK as XNLI
from flare_ray.translation.corpus import Translating


def ids(
    task: Task, folder: Path, language: str, split: str, limit: int | None, parallel_to: str = ""
) -> list[str]:
    found = (
        task.read(str(folder), language, split, limit=limit, parallel_to=parallel_to).table["id"].to_pylist()
    )
    return [str(one) for one in found]


@pytest.mark.parametrize("limit", [1, 3, 6, 100])
def test_languages_have_the_same_ids_whatever_the_order_of_their_files(tmp_path: Path, limit: int) -> None:
    write_data(tmp_path)
    shuffled = [(number, f"words {number}", "neutral") for number in (5, 3, 0, 1, 4, 2)]
    write_csv(tmp_path / "acehnese" / "train.csv", shuffled)
    english = ids(TASK, tmp_path, "eng", "train", limit)
    assert english == [str(number) for number in range(min(limit, 6))]
    assert set(ids(TASK, tmp_path, "ace", "train", limit)) == set(english)
    assert ids(TASK, tmp_path, "jav", "train", limit) == english


def test_a_row_that_a_language_lacks_makes_room_for_the_next_one_on_both_sides(tmp_path: Path) -> None:
    write_data(tmp_path)
    write_csv(tmp_path / "acehnese" / "train.csv", [(k, f"words {k}", "neutral") for k in (0, 2, 3, 5)])
    assert ids(TASK, tmp_path, "ace", "train", 3) == ["0", "2", "3"]
    assert ids(TASK, tmp_path, "eng", "train", 3, parallel_to="ace") == ["0", "2", "3"]
    assert ids(TASK, tmp_path, "eng", "train", 3, parallel_to="jav") == ["0", "1", "2"]


def test_parallel_files_are_cut_by_place(tmp_path: Path) -> None:
    for language in ("en", "sw"):
        rows = [(f"{language} premise {k}", f"hypothesis {k}", k % 3) for k in range(9)]
        write_tsv(tmp_path / f"{language}.test.tsv", ("premise", "hypothesis", "label"), rows)
    table = XNLI.read(str(tmp_path), "sw", "test", limit=4).table
    assert table["premise"].to_pylist() == [f"sw premise {k}" for k in range(4)]
    assert ids(XNLI, tmp_path, "eng", "test", 4, parallel_to="sw") == table["id"].to_pylist()


def test_languages_without_common_ids_are_cut_to_their_own_first_rows(tmp_path: Path) -> None:
    for language in ("swahili", "english"):
        questions = [
            question(f"{language}-{k}", f"{language} text {k} of one", ("text", 8)) for k in range(5)
        ]
        for split in ("train", "dev", "test"):
            write_squad(tmp_path / f"{language}.{split}.json", questions)
    assert ids(TYDIQA, tmp_path, "sw", "test", 2) == ["swahili-0", "swahili-1"]
    assert ids(TYDIQA, tmp_path, "eng", "test", 2, parallel_to="sw") == ["english-0", "english-1"]


def test_translations_beside_a_split_are_those_of_its_first_rows(tmp_path: Path) -> None:
    write_data(tmp_path)
    rows = [(number, f"translated {number}") for number in (9, 10, 11)]
    write_csv(tmp_path / "acehnese" / "test.english.csv", rows, header=("id", "text"))
    found = TASK.read_translation(str(tmp_path), "ace", "test", limit=2)
    assert found is not None
    assert dict(zip(found.table["id"].to_pylist(), found.table["text"].to_pylist(), strict=True)) == {
        "9": "translated 9",
        "10": "translated 10",
    }


def test_a_translated_split_is_limited_to_the_rows_that_are_read(tmp_path: Path) -> None:
    write_data(tmp_path)
    write_csv(tmp_path / "acehnese" / "test.csv", [(k, f"words {k}", "neutral") for k in (11, 10, 9)])
    machine = Translation(model=str(write_checkpoint(tmp_path / "nllb", "m2m_100")))
    for split, expected in (("train", ["0", "1"]), ("test", ["10", "9"])):
        made = corpus("nusax", str(tmp_path), "ace", split, machine, limit=2)
        memory: Any = None
        assert Translating(made, memory).read.table["id"].to_pylist() == expected
