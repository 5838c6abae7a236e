import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_study import FILES, IDS, LABELS, write_csv, write_data

from flare_ray.errors import InputError
from flare_ray.sandbox import world
from flare_ray.tasks.nusax import TASK

TRICKY = [
    "plain words",
    "a comma, and another, one",
    'he said "good", twice: ""',
    "two\nlines",
    "windows\r\nlines, quoted",
    "Basa Acèh — bit‑bit 🍜 ﷽ 汉字 e\u0301",
    "NA",
    "null",
    "",
    " blanks around ",
    "'single' quotes; semicolons\ttabs",
    "0123",
]


def rows() -> list[tuple[str, str, str]]:
    return [(f"{number:03}", text, LABELS[number % 3]) for number, text in enumerate(TRICKY)]


def expected() -> list[dict[str, Any]]:
    return [{"id": key, "text": text, "label": LABELS.index(label)} for key, text, label in rows()]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "test.csv", rows())
    table = TASK.read_file(file)
    assert table.to_pylist() == expected()
    assert table.schema.field("id").type == pa.string()
    assert table.schema.field("label").type == pa.int64()


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    shuffled = [(label, "ignored", text, key) for key, text, label in rows()]
    file = write_csv(tmp_path / "test.csv", shuffled, header=("label", "more", "text", "id"))
    assert TASK.read_file(file).to_pylist() == expected()


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_bytes(b'\xef\xbb\xbfid,text,label\r\n7,"a, b",neutral\r\n')
    assert TASK.read_file(file).to_pylist() == [{"id": "7", "text": "a, b", "label": 1}]


def test_many_rows_stay_in_order(tmp_path: Path) -> None:
    """More than one block of the CSV reader, with line breaks inside values."""
    many = [(str(number), f"row {number}\n" + "word " * 40, LABELS[number % 3]) for number in range(12_000)]
    table = TASK.read_file(write_csv(tmp_path / "train.csv", many))
    assert table["id"].to_pylist() == [key for key, _, _ in many]
    assert table["text"].to_pylist() == [text for _, text, _ in many]


@pytest.mark.parametrize("absent", ["id", "text", "label"])
def test_an_absent_column_is_named(tmp_path: Path, absent: str) -> None:
    header = [name if name != absent else "other" for name in ("id", "text", "label")]
    file = write_csv(tmp_path / "test.csv", rows(), header=header)
    with pytest.raises(InputError, match=f"also {absent}") as caught:
        TASK.read_file(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("label", ["Positive", "mixed", "", "1"])
def test_an_unknown_label_is_named_with_its_row(tmp_path: Path, label: str) -> None:
    file = write_csv(tmp_path / "test.csv", [("1", "good", "positive"), ("22", "bad", label)])
    with pytest.raises(InputError, match=rf"label '{label}' in row 22"):
        TASK.read_file(file)


def test_each_split_and_language_has_its_file(tmp_path: Path) -> None:
    source = str(write_data(tmp_path / "data", ["english", "acehnese", "klingon"]))
    for language, folder in {"eng": "english", "ace": "acehnese", "klingon": "klingon"}.items():
        for split, ids in IDS.items():
            table = TASK.read(source, language, split)
            assert table["id"].to_pylist() == [str(number) for number in ids]
            assert set(table["text"].to_pylist()) == {f"{folder} words of row {number}" for number in ids}
    assert TASK.problems(source, ["ace", "klingon"]) == []


def test_unpaired_ids_are_counted_per_language_and_split(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    write_csv(folder / "acehnese" / "train.csv", [("1", "x", "neutral"), ("x1", "y", "neutral")])
    write_csv(folder / "javanese" / "test.csv", [(f"t{number}", "x", "neutral") for number in range(5)])
    found = [problem.found for problem in TASK.problems(str(folder), ["ace", "jav"])]
    assert found == [
        "1 of 2 ids of the ace train split without an English row (such as x1)",
        "5 of 5 ids of the jav test split without an English row (such as t0, t1, t2)",
    ]


def test_targets_of_each_kind_of_source(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", ["english", "javanese", "acehnese", "eng", ".cache"])
    assert TASK.targets(str(folder)) == ["ace", "jav"]
    assert TASK.targets("sandbox") == list(world.LANGUAGES)
    assert TASK.targets("org/corpus") == list(TASK.languages)
    assert TASK.targets(str(tmp_path / "nowhere")) == []


# ---- the hub


def dataset_repository(folder: Path, languages: Sequence[str], with_names: bool) -> Path:
    """A hub repository as a local folder: parquet per config and split; labels as class indices, or as names."""
    configs = []
    for language in languages:
        data = [f"  - {{split: {split}, path: {language}/{split}.parquet}}" for split in FILES]
        configs.append("\n".join([f"- config_name: {language}", "  data_files:", *data]))
        for split in FILES:
            (folder / language).mkdir(parents=True, exist_ok=True)
            marked = [f"{language} {split} {text}" for text in TRICKY]
            labels: Any = [label if with_names else LABELS.index(label) for _, _, label in rows()]
            table = pa.table({"id": [key for key, _, _ in rows()], "text": marked, "label": labels})
            pq.write_table(table, folder / language / f"{split}.parquet")
    features = "" if with_names else _features(languages)
    (folder / "README.md").write_text(
        "---\nconfigs:\n" + "\n".join(configs) + f"\n{features}---\nA corpus.\n"
    )
    return folder


def _features(languages: Sequence[str]) -> str:
    names = "\n".join(f"          '{number}': {label}" for number, label in enumerate(LABELS))
    info = [
        f"- config_name: {language}\n  features:\n"
        "  - {name: id, dtype: string}\n  - {name: text, dtype: string}\n"
        f"  - name: label\n    dtype:\n      class_label:\n        names:\n{names}"
        for language in languages
    ]
    return "dataset_info:\n" + "\n".join(info) + "\n"


@pytest.mark.parametrize("with_names", [False, True], ids=["class indices", "label names"])
def test_the_hub_gives_the_same_rows_as_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_names: bool
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    repository = dataset_repository(tmp_path / "repository", ["ace", "eng"], with_names)
    for language, split in [("ace", "train"), ("eng", "test")]:
        marked = [(key, f"{language} {split} {text}", label) for key, text, label in rows()]
        folder = TASK.read_file(write_csv(tmp_path / "folder" / f"{language}.csv", marked))
        hub = TASK.read_hub(str(repository), language, split)
        assert hub.to_pylist() == folder.to_pylist()
        assert hub.column_names == folder.column_names
        assert hub["label"].type == folder["label"].type


# ---- scores


def macro_f1(labels: list[int], predictions: list[int]) -> float:
    """By the definition: the mean over the three classes of 2tp / (2tp + fp + fn), 0 where that is 0/0."""
    scores = []
    for kind in range(3):
        pairs = [(label == kind, guess == kind) for label, guess in zip(labels, predictions, strict=True)]
        right, guessed, there = (
            pairs.count((True, True)),
            pairs.count((False, True)),
            pairs.count((True, False)),
        )
        whole = 2 * right + guessed + there
        scores.append(2 * right / whole if whole else 0.0)
    return 100 * sum(scores) / 3


def test_scores_of_a_case_worked_by_hand() -> None:
    # class 0: tp 1, fp 1, fn 1 → 1/2; class 1: tp 1, fp 0, fn 1 → 2/3; class 2: tp 2, fp 1, fn 0 → 4/5
    score = TASK.score([0, 0, 1, 1, 2, 2], [0, 2, 1, 0, 2, 2])
    assert score["macro_f1"] == pytest.approx(100 * (1 / 2 + 2 / 3 + 4 / 5) / 3)
    assert score["accuracy"] == pytest.approx(100 * 4 / 6)


def test_scores_follow_the_definition_also_when_a_class_is_absent() -> None:
    chance = random.Random(0)
    for classes in [(0, 1, 2), (0, 2), (1,)]:
        for _ in range(5):
            labels = [chance.choice(classes) for _ in range(30)]
            predictions = [chance.randrange(3) for _ in range(30)]
            assert TASK.score(labels, predictions)["macro_f1"] == pytest.approx(macro_f1(labels, predictions))
    assert TASK.score([1, 1], [1, 1]) == {"macro_f1": pytest.approx(100 / 3), "accuracy": 100}


def test_table_5_of_the_paper() -> None:
    encoder, decoder = TASK.hyperparameters("encoder"), TASK.hyperparameters("decoder")
    assert (encoder.epochs, encoder.batch_size, encoder.learning_rate, encoder.max_length) == (
        20,
        64,
        2e-4,
        128,
    )
    assert decoder.epochs == 5
    assert TASK.hyperparameters("encoder_decoder") == encoder
