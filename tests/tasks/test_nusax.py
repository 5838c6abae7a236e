from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_study import FILES, IDS, LABELS, write_csv, write_data

from flare_ray.errors import InputError
from flare_ray.sandbox import world
from flare_ray.tasks import base
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
    "-",
    " blanks around ",
    "'single' quotes; semicolons\ttabs",
    "0123",
]


def rows() -> list[tuple[str, str, str]]:
    return [(f"{number:03}", text, LABELS[number % 3]) for number, text in enumerate(TRICKY)]


def expected() -> list[dict[str, Any]]:
    return [{"id": key, "text": text, "label": label} for key, text, label in rows()]


def read(file: Path) -> pa.Table:
    """One CSV as the Acehnese test split of a folder."""
    place = file.parent / "corpus" / "acehnese" / "test.csv"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file.read_bytes())
    return TASK.read(str(file.parent / "corpus"), "ace", "test").table


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "test.csv", rows())
    table = read(file)
    assert table.to_pylist() == expected()
    assert table.schema.field("id").type == pa.string()
    assert table.schema.field("label").type == pa.string()


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    shuffled = [(label, "ignored", text, key) for key, text, label in rows()]
    file = write_csv(tmp_path / "test.csv", shuffled, header=("label", "more", "text", "id"))
    assert read(file).to_pylist() == expected()


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_bytes(b'\xef\xbb\xbfid,text,label\r\n7,"a, b",neutral\r\n')
    assert read(file).to_pylist() == [{"id": "7", "text": "a, b", "label": "neutral"}]


def test_many_rows_stay_in_order(tmp_path: Path) -> None:
    """More than one block of the CSV reader, with line breaks inside values."""
    many = [(str(number), f"row {number}\n" + "word " * 40, LABELS[number % 3]) for number in range(12_000)]
    table = read(write_csv(tmp_path / "train.csv", many))
    assert table["id"].to_pylist() == [key for key, _, _ in many]
    assert table["text"].to_pylist() == [text for _, text, _ in many]


@pytest.mark.parametrize("absent", ["id", "text", "label"])
def test_an_absent_column_is_named(tmp_path: Path, absent: str) -> None:
    header = [name if name != absent else "other" for name in ("id", "text", "label")]
    file = write_csv(tmp_path / "test.csv", rows(), header=header)
    with pytest.raises(InputError, match=f"also {absent}") as caught:
        read(file)
    assert "acehnese/test.csv" in str(caught.value)


@pytest.mark.parametrize("label", ["Positive", "mixed", "", "1"])
def test_an_unknown_label_is_named_with_its_row(tmp_path: Path, label: str) -> None:
    file = write_csv(tmp_path / "test.csv", [("1", "good", "positive"), ("22", "bad", label)])
    with pytest.raises(InputError, match=rf"label '{label}' in row 22"):
        read(file)


def test_each_split_and_language_has_its_file(tmp_path: Path) -> None:
    source = str(write_data(tmp_path / "data", ["english", "acehnese", "klingon"]))
    for language, folder in {"eng": "english", "ace": "acehnese", "klingon": "klingon"}.items():
        for split, ids in IDS.items():
            table = TASK.read(source, language, split).table
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
        folder = read(write_csv(tmp_path / "folder" / f"{language}.csv", marked))
        monkeypatch.setattr(base, "is_local", lambda source: not source.startswith(str(repository)))
        hub = TASK.read(str(repository), language, split).table
        assert hub.to_pylist() == folder.to_pylist()
        assert hub.column_names == folder.column_names
        assert hub["label"].type == folder["label"].type


# ---- asking


def test_what_a_generating_model_sees_and_how_its_words_are_read() -> None:
    row = {"id": "1", "text": "kupi nyan mangat", "label": "positive"}
    assert TASK.prompt(row) == "kupi nyan mangat\nSentiment: "
    assert TASK.answer(row) == "positive"
    read_as = {
        "positive": "positive",
        " Neutral.": "neutral",
        "\n**negative**\nSentiment: positive": "negative",
        "not positive": None,
        "positively": None,
        "": None,
        "…": None,
    }
    assert {text: TASK.parse(text) for text in read_as} == read_as


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
