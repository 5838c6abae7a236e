from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from files import write_jsonl, write_repository, write_tsv

from flare_ray.errors import InputError
from flare_ray.plan.english import PAIRED
from flare_ray.sandbox import world
from flare_ray.tasks import base
from flare_ray.tasks.xnli import TASK

PLAIN = ("premise", "hypothesis", "label")
ROWS = [
    ("it rains.", "it's wet.", "entailment"),
    ("it rains.", "I walk.", "neutral"),
    ("a", "b", "contradiction"),
]


def rows_of(split: str, texts: list[tuple[str, str, str]] = ROWS) -> list[dict[str, str]]:
    return [
        {"id": f"{split}-{place}", "premise": premise, "hypothesis": hypothesis, "label": label}
        for place, (premise, hypothesis, label) in enumerate(texts)
    ]


def read(folder: Path, language: str = "sw", split: str = "test", **how: Any) -> list[dict[str, Any]]:
    return TASK.read(str(folder), language, split, **how).table.to_pylist()


# ---- one file per language


@pytest.mark.parametrize("name", ["sw", "swahili"])
@pytest.mark.parametrize(("split", "there"), [("train", "train"), ("validation", "dev"), ("test", "test")])
def test_a_file_per_language_and_split(tmp_path: Path, name: str, split: str, there: str) -> None:
    write_tsv(tmp_path / f"{name}.{there}.tsv", PLAIN, ROWS)
    assert read(tmp_path, split=split) == rows_of(split)


@pytest.mark.parametrize("name", ["en", "english", "eng"])
def test_english_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    write_tsv(tmp_path / f"{name}.test.tsv", PLAIN, ROWS)
    assert read(tmp_path, "eng") == rows_of("test")


@pytest.mark.parametrize(
    "header",
    [
        ("premise", "hypo", "gold_label"),
        ("sentence1", "sentence2", "label"),
        ("sentence1_sw", "sentence2_sw", "label"),
        ("sentence1_swahili", "sentence2_swahili", "gold_label"),
    ],
)
def test_columns_by_their_synonyms(tmp_path: Path, header: tuple[str, ...]) -> None:
    write_tsv(tmp_path / "sw.test.tsv", ("genre", *header), [("fiction", *row) for row in ROWS])
    assert read(tmp_path) == rows_of("test")


SPELLINGS = {
    "0": "entailment",
    "1": "neutral",
    "2": "contradiction",
    "contradictory": "contradiction",
    "Entailment": "entailment",
    " neutral ": "neutral",
    "contradiction": "contradiction",
}


@pytest.mark.parametrize("written", [*SPELLINGS, 0, 1, 2])
def test_labels_of_every_spelling(tmp_path: Path, written: str | int) -> None:
    wanted = SPELLINGS[str(written)]
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, [("a", "b", written)])
    write_jsonl(tmp_path / "de.test.jsonl", [{"premise": "a", "hypothesis": "b", "label": written}])
    assert [read(tmp_path, code)[0]["label"] for code in ("sw", "de")] == [wanted, wanted]


def test_two_languages_side_by_side(tmp_path: Path) -> None:
    header = ("label", "sentence1_en", "sentence2_en", "sentence1_my", "sentence2_my")
    write_tsv(tmp_path / "en_my.test.tsv", header, [(2, "mama", "home", "မေမေ", "အိမ်")])
    assert read(tmp_path, "eng") == rows_of("test", [("mama", "home", "contradiction")])
    assert read(tmp_path, "my") == rows_of("test", [("မေမေ", "အိမ်", "contradiction")])
    assert TASK.targets(str(tmp_path)) == ["my"]
    write_tsv(tmp_path / "en.test.tsv", PLAIN, ROWS)  # English of its own goes before
    assert read(tmp_path, "eng") == rows_of("test")


def test_quotes_and_odd_line_ends_are_text(tmp_path: Path) -> None:
    odd = [
        ('"he said', 'no "end" here', "neutral"),
        ("a\u2028b\x0bc", "x\ry", "neutral"),
        ("‘…’ 汉字 🍜", "e\u0301", "neutral"),
    ]
    file = write_tsv(tmp_path / "sw.test.tsv", PLAIN, odd)
    assert read(tmp_path) == rows_of("test", odd)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read(tmp_path) == rows_of("test", odd)


def test_a_language_of_the_users_own(tmp_path: Path) -> None:
    for name in ("klingon", "tr", "english", "high_valyrian"):
        write_tsv(tmp_path / f"{name}.test.tsv", PLAIN, ROWS)
    assert TASK.targets(str(tmp_path)) == ["tr", "high_valyrian", "klingon"]
    assert read(tmp_path, "high_valyrian") == rows_of("test")


def test_two_files_for_one_split_are_an_error(tmp_path: Path) -> None:
    for name in ("sw", "swahili"):
        write_tsv(tmp_path / f"{name}.test.tsv", PLAIN, ROWS)
    with pytest.raises(InputError, match="several files for one split"):
        read(tmp_path)


# ---- the original release

RELEASE = ("language", "gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "pairID")


def release(folder: Path, suffix: str = "tsv") -> Path:
    """XNLI-1.0 and XNLI-MT-1.0 as they unpack."""
    for split in ("dev", "test"):
        rows = [
            (code, label, "( x )", f"{code} {premise}", hypothesis, place)
            for code in ("ar", "en", "sw")
            for place, (premise, hypothesis, label) in enumerate(ROWS)
        ]
        file = folder / "XNLI-1.0" / f"xnli.{split}.{suffix}"
        if suffix == "tsv":
            write_tsv(file, RELEASE, rows)
        else:
            write_jsonl(file, [dict(zip(RELEASE, row, strict=True)) for row in rows])
    for code in ("en", "sw"):
        rows = [
            (f"{code} {premise}", hypo, label.replace("diction", "dictory")) for premise, hypo, label in ROWS
        ]
        write_tsv(
            folder / "XNLI-MT-1.0" / "multinli" / f"multinli.train.{code}.tsv",
            ("premise", "hypo", "label"),
            rows,
        )
    return folder


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_the_original_release(tmp_path: Path, suffix: str) -> None:
    release(tmp_path, suffix)
    for language, code in {"eng": "en", "sw": "sw"}.items():
        for split in base.SPLITS:
            marked = [(f"{code} {premise}", hypothesis, label) for premise, hypothesis, label in ROWS]
            assert read(tmp_path, language, split) == rows_of(split, marked)
    assert TASK.problems(str(tmp_path), ["sw"]) == []
    assert TASK.targets(str(tmp_path)) == list(TASK.languages)
    (absent,) = {problem.found for problem in TASK.problems(str(tmp_path), ["ar"])}
    assert absent == f"no file {tmp_path / 'ar.train.tsv'}"


# ---- unusable rows


def test_a_dropped_row_shifts_no_id(tmp_path: Path) -> None:
    for bad in [
        ("", "b", "neutral"),
        ("a", " \u3000", "neutral"),
        ("a", "b", "-"),
        ("a", "b"),
        ("a", "b", "0", "c"),
        (),
    ]:
        write_tsv(tmp_path / "sw.test.tsv", PLAIN, [ROWS[0], bad, ROWS[2]])
        rows = TASK.read(str(tmp_path), "sw", "test", max_dropped=0.5)
        assert rows.table["id"].to_pylist() == ["test-0", "test-2"]
        assert sum(rows.dropped.values()) == 1


def test_reasons_are_counted_and_examples_told_at_every_read(tmp_path: Path) -> None:
    bad = [("", "b", 0), ("a", "b", "maybe"), ("a", "b", 7), ("a", "b")]
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, [*ROWS * 30, *bad])
    rows = TASK.read(str(tmp_path), "sw", "test", max_dropped=0.05)
    assert rows.dropped == {"empty text": 1, "unknown label": 2, "malformed row": 1}
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            TASK.read(str(tmp_path), "sw", "test")
        told = str(caught.value)
        assert (
            f"{tmp_path / 'sw.test.tsv'}: 4 of 94 rows unusable (1 empty text, 1 malformed row, 2 unknown label)"
            in told
        )
        assert "at most 1.00%" in told
        assert "label 'maybe' in row test-91; wanted entailment | neutral | contradiction" in told
        assert "premise '' in row test-90; wanted a text that is not blank" in told
        assert "2 values under 3 columns in row test-93" in told


def test_one_bad_row_in_a_hundred_is_left_out_quietly(tmp_path: Path) -> None:
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, [*ROWS * 33, ("a", "", 0)])
    assert TASK.read(str(tmp_path), "sw", "test").dropped == {"empty text": 1}
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, [*ROWS * 32, ("a", "", 0)])
    with pytest.raises(InputError, match="1 of 97"):
        read(tmp_path)


def test_absent_columns_and_files_are_told(tmp_path: Path) -> None:
    write_tsv(tmp_path / "sw.test.tsv", ("premise", "text", "label"), ROWS)
    with pytest.raises(
        InputError, match=r"sw.test.tsv with the columns premise, text, label; wanted also hypothesis"
    ):
        read(tmp_path)
    with pytest.raises(InputError, match=r"no file .*sw.train.tsv; wanted the train split of sw"):
        read(tmp_path, split="train")


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "sw.test.tsv").write_bytes(b"premise\thypothesis\tlabel\n\xff\xfe\t\tx\n")
    with pytest.raises(InputError, match=r"sw.test.tsv.*wanted tsv in UTF-8"):
        read(tmp_path)


# ---- translations


def test_translations_pair_by_place_and_take_the_split_s_labels(tmp_path: Path) -> None:
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, [*ROWS[:2], ("x", "y", "?"), ROWS[2]])
    before = TASK.identity(str(tmp_path), "sw")
    assert TASK.read_translation(str(tmp_path), "sw", "test") is None
    english = [("rain", "wet"), ("", "walk"), ("x", "y"), ("A", "B")]
    write_tsv(tmp_path / "sw.test.english.tsv", ("premise", "hypothesis"), english)
    rows = TASK.read_translation(str(tmp_path), "sw", "test", max_dropped=0.5)
    assert rows is not None
    assert rows.table.to_pylist() == [
        {"id": "test-0", "premise": "rain", "hypothesis": "wet", "label": "entailment"},
        {"id": "test-3", "premise": "A", "hypothesis": "B", "label": "contradiction"},
    ]
    assert rows.dropped == {"empty text": 1, "unknown label": 1}
    assert TASK.identity(str(tmp_path), "sw") == before, "the rows are as they were"
    assert set(TASK.translation_identity(str(tmp_path), "sw")) == {"english"}
    assert TASK.translation_identity(str(tmp_path), "sw", "validation") == {}
    assert TASK.targets(str(tmp_path)) == ["sw"]


@pytest.mark.parametrize("count", [1, 4])
def test_a_translation_of_another_length_is_an_error(tmp_path: Path, count: int) -> None:
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, ROWS)
    write_tsv(tmp_path / "sw.test.english.tsv", ("premise", "hypothesis"), [("a", "b")] * count)
    with pytest.raises(InputError, match="rows than the split"):
        TASK.read_translation(str(tmp_path), "sw", "test")


def test_a_translation_stands_for_the_english_row(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        for name in ("en", "sw"):
            write_tsv(tmp_path / f"{name}.{split}.tsv", PLAIN, ROWS)
    write_tsv(tmp_path / "sw.test.tsv", PLAIN, ROWS)
    (told,) = TASK.problems(str(tmp_path), ["sw"])
    assert "no file" in told.found
    assert TASK.problems(str(tmp_path), ["sw"], dict.fromkeys(base.SPLITS, frozenset())) == []
    write_jsonl(tmp_path / "sw.test.english.jsonl", [{"sentence1_en": "a", "sentence2_en": "b"}] * 3)
    files = {**PAIRED, "test": frozenset({"beside"})}
    assert TASK.problems(str(tmp_path), ["sw"], files) == []
    (tmp_path / "sw.test.english.jsonl").unlink()
    (absent,) = TASK.problems(str(tmp_path), ["sw"], files)
    assert "no English translation of the sw test split" in absent.found
    assert "sw.test.english.tsv beside it" in absent.wanted


# ---- the hub, the sandbox, real files

FEATURES = """\
  - {name: premise, dtype: string}
  - {name: hypothesis, dtype: string}
  - name: label
    dtype:
      class_label:
        names:
          '0': entailment
          '1': neutral
          '2': contradiction"""


def test_the_hub_gives_the_same_rows_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    texts = [*ROWS, ("", "blank premise", "neutral"), *ROWS * 40]
    columns = list(zip(*texts, strict=True))
    table = pa.table(
        {
            "premise": columns[0],
            "hypothesis": columns[1],
            "label": [TASK.labels.index(label) for label in columns[2]],
        }
    )
    configs = {code: {"train": table, "validation": table, "test": table} for code in ("en", "sw")}
    repository = str(write_repository(tmp_path / "repository", configs, FEATURES))
    for code, language in {"en": "eng", "sw": "sw"}.items():
        write_tsv(tmp_path / "folder" / f"{code}.test.tsv", PLAIN, texts)
        local = TASK.read(str(tmp_path / "folder"), language, "test")
        monkeypatch.setattr(base, "is_local", lambda source: source != repository)
        hub = TASK.read(repository, language, "test")
        assert hub.table.equals(local.table)
        assert hub.dropped == local.dropped == {"empty text": 1}


def test_the_sandbox_is_parallel(small_sandbox: Path) -> None:
    source = str(small_sandbox / "data" / "xnli")
    assert TASK.targets(source) == sorted(world.LANGUAGES)
    assert TASK.problems(source, TASK.targets(source)) == []


def test_real_files(real: Path) -> None:
    source = str(real / "xnli")
    assert TASK.targets(source) == ["es", "sw", "my"]
    tables = {code: TASK.read(source, code, "test") for code in ("eng", "sw", "es", "my")}
    for rows in tables.values():
        assert rows.table.num_rows == 5010
        assert rows.dropped == {}
        assert rows.table["label"].equals(tables["eng"].table["label"])
        assert rows.table["id"].equals(tables["eng"].table["id"])


def test_real_machine_translation(real: Path, tmp_path: Path) -> None:
    (tmp_path / "sw.test.tsv").symlink_to(real / "xnli" / "sw.test.tsv")
    (tmp_path / "sw.test.english.tsv").symlink_to(real / "xnli" / "sw.translate_test.tsv")
    rows = TASK.read_translation(str(tmp_path), "sw", "test")
    assert rows is not None
    assert rows.table["label"].equals(TASK.read(str(tmp_path), "sw", "test").table["label"])
    assert rows.table["premise"][0].as_py().startswith("Well, I wasn't thinking about that")


# ---- asking


def test_prompt_answer_and_parse() -> None:
    row = rows_of("test")[0]
    assert TASK.prompt(row) == "Premise:it rains.\nHypothesis:it's wet.\nLabel: "
    assert TASK.answer(row) == "entailment"
    assert [TASK.parse(text) for text in (" Entailment\n", "contradictory", "no entailment")] == [
        "entailment",
        None,
        None,
    ]


def test_table_5_of_the_paper() -> None:
    for architecture, epochs in {"encoder": 10, "encoder_decoder": 10, "decoder": 3}.items():
        assert vars(TASK.hyperparameters(architecture)) == {
            "epochs": epochs,
            "batch_size": 64,
            "learning_rate": 2e-5,
            "max_length": 128,
        }
