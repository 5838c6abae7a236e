import json
import random
import re
import string
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from files import question, write_jsonl, write_repository, write_squad, write_tsv

from flare_ray.errors import InputError
from flare_ray.sandbox import world
from flare_ray.tasks import _squad, base
from flare_ray.tasks.tydiqa import TASK

CONTEXT = "Amos and Wilfrid Ayre founded it in 1918, Amos first."


def made(language: str, count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        question(f"{language}-{number}-0", f"{CONTEXT} {number}", ("1918", 36))
        for number in range(start, start + count)
    ]


def ids(folder: Path, language: str, split: str, **how: Any) -> list[str]:
    return TASK.read(str(folder), language, split, **how).table["id"].to_pylist()


def splits(folder: Path, language: str = "sw") -> dict[str, list[str]]:
    return {split: ids(folder, language, split) for split in base.SPLITS}


# ---- layouts


@pytest.mark.parametrize("name", ["swahili", "sw"])
def test_three_files_are_the_three_splits(tmp_path: Path, name: str) -> None:
    for split in ("train", "dev", "test"):
        write_squad(tmp_path / f"{name}.{split}.json", made(f"swahili-{split}", 20))
    for split, there in {"train": "train", "validation": "dev", "test": "test"}.items():
        assert ids(tmp_path, "sw", split) == [f"swahili-{there}-{number}-0" for number in range(20)]


def test_without_a_test_file_dev_is_the_test_and_a_fixed_tenth_of_train_the_validation(
    tmp_path: Path,
) -> None:
    write_squad(tmp_path / "swahili.train.json", made("swahili", 1000))
    write_squad(tmp_path / "swahili.dev.json", made("swahili-dev", 30))
    found = splits(tmp_path)
    assert len(found["test"]) == 30
    assert 70 < len(found["validation"]) < 130
    assert sorted(found["train"] + found["validation"]) == sorted(one["id"] for one in made("swahili", 1000))
    write_squad(tmp_path / "swahili.train.json", made("swahili", 2000)[::-1])  # a passage stays on its side
    assert set(ids(tmp_path, "sw", "validation")) >= set(found["validation"])
    assert set(ids(tmp_path, "sw", "train")) >= set(found["train"])


def test_no_passage_is_in_train_and_in_validation(tmp_path: Path) -> None:
    """Five questions of each passage; a translation beside the file is parted as the file is."""
    every = [{**one, "id": f"{one['id']}-{turn}"} for turn in range(5) for one in made("swahili", 200)]
    write_squad(tmp_path / "swahili.train.json", every)
    english = [(one["id"], f"English of {one['context']}", "q") for one in every]
    write_tsv(tmp_path / "swahili.train.english.tsv", ("id", "context", "question"), english)
    passages = [
        set(TASK.read(str(tmp_path), "sw", split).table["context"].to_pylist())
        for split in ("train", "validation")
    ]
    assert not passages[0] & passages[1]
    assert len(passages[0] | passages[1]) == 200
    for split in ("train", "validation"):
        translated = TASK.read_translation(str(tmp_path), "sw", split)
        assert translated is not None
        assert translated.table["id"].to_pylist() == ids(tmp_path, "sw", split)


def test_only_what_reads_a_part_of_train_is_other_work_than_before(tmp_path: Path) -> None:
    """Train and validation of one file were parted by question once."""
    parted = {"validation": "by passage"}
    write_squad(tmp_path / "mine" / "swahili.train.json", made("swahili", 20))
    write_squad(tmp_path / "mine" / "swahili.dev.json", made("swahili-dev", 3))
    write_squad(tmp_path / "mine" / "telugu.dev.json", made("telugu", 3))
    write_squad(tmp_path / "xquad" / "xquad.ar.json", made("q", 20))
    for split in ("train", "dev", "test"):
        write_squad(tmp_path / "whole" / f"swahili.{split}.json", made(f"swahili-{split}", 3))
    for folder, language, changed in [
        ("mine", "sw", True),
        ("mine", "te", False),
        ("xquad", "ar", False),
        ("whole", "sw", False),
    ]:
        source = str(tmp_path / folder)
        found = TASK.identity(source, language)
        assert (found.items() >= parted.items()) is changed
        assert set(TASK.split_identity(source, language, "test")) == {"content"}
    assert (
        TASK.identity("org/corpus", "sw")
        == {"hub": "org/corpus", "revision": "main", "language": "sw"} | parted
    )
    assert set(TASK.split_identity("org/corpus", "sw", "test")) == {"hub", "revision", "language"}
    assert TASK.identity("sandbox", "sw") == {"sandbox": world.VERSION, "language": "sw"}


def test_a_language_with_a_dev_file_alone_has_a_test_only(tmp_path: Path) -> None:
    write_squad(tmp_path / "telugu.dev.json", made("telugu", 5))
    for split in ("train", "dev"):
        write_squad(tmp_path / f"english.{split}.json", made(f"english-{split}", 50))
    assert TASK.targets(str(tmp_path)) == ["te"]
    assert len(ids(tmp_path, "te", "test")) == 5
    with pytest.raises(InputError, match=r"no file .*telugu.train.json; wanted the train split of te"):
        ids(tmp_path, "te", "train")
    told = [
        str(problem)
        for problem in TASK.problems(str(tmp_path), ["te"], dict.fromkeys(base.SPLITS, frozenset()))
    ]
    assert len(told) == 2
    assert "wanted the train split of te" in told[0]
    assert TASK.problems(str(tmp_path), ["te"], {"test": frozenset()}) == []


def test_xquad_is_split_by_passage_the_same_in_every_language(tmp_path: Path) -> None:
    for name in ("en", "ar", "th"):
        twice = [{**one, "id": f"again {one['id']}"} for one in made("q", 500)]  # of the same passages
        every = [one for pair in zip(made("q", 500), twice, strict=True) for one in pair]
        write_squad(tmp_path / f"xquad.{name}.json", every, version="1.1")
    source = str(tmp_path)
    found = splits(tmp_path, "eng")
    assert splits(tmp_path, "ar") == splits(tmp_path, "th") == found
    sizes = [len(found[split]) for split in base.SPLITS]
    assert sum(sizes) == 1000
    assert sizes == pytest.approx([700, 100, 200], abs=60)
    for mine in found.values():
        assert {row.removeprefix("again ") for row in mine} <= set(mine), "a passage is in one split"
    assert TASK.targets(source) == ["ar", "th"]
    assert TASK.problems(source, ["ar", "th"]) == []


@pytest.mark.parametrize(
    "dev", ["tydiqa-goldp-v1.1-dev.json", "tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-{}.json"]
)
def test_the_original_release(tmp_path: Path, dev: str) -> None:
    every = [one for name in ("english", "swahili", "telugu") for one in made(name, 100)]
    write_squad(tmp_path / "tydiqa-goldp-v1.1-train.json", every, version="TyDiQA-GoldP-1.1-for-SQuAD-1.1")
    for name in ("english", "swahili", "telugu"):
        write_squad(tmp_path / dev.format(name), made(name, 10, 100) if "{}" in dev else every)
    for name, language in {"english": "eng", "swahili": "sw", "telugu": "te"}.items():
        found = splits(tmp_path, language)
        assert all(one.startswith(f"{name}-") for one in chain(*found.values()))
        assert len(found["train"]) + len(found["validation"]) == 100
        assert len(found["test"]) == (10 if "{}" in dev else 100)
    assert set(TASK.targets(str(tmp_path))) >= {"sw", "te"}


# ---- offsets

SCRIPTS = {
    "arabic with marks": ("قَالَ مُحَمَّدٌ إِنَّ العَاصِمَةَ هِيَ القَاهِرَةُ", "القَاهِرَةُ"),
    "bengali": ("পশ্চিম ভারতের মুম্বাই শহরে স্থাপন করেন স্যার জর্জ সিডেনহাম ক্লার্ক", "জর্জ সিডেনহাম ক্লার্ক"),
    "telugu": ("ఉప్పు నీటితో నిండిన ఈ మహా సముద్రాలు ఐదు ఉన్నాయి", "ఐదు"),
    "thai": ("\ufeffทีมรับของแพนเธอร์สอยู่ที่กรุงเทพมหานคร", "กรุงเทพ"),
    "beyond 16 bits": ("🍜🍜 e\u0301te\u0301 𐍈 end", "𐍈"),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("escaped", [False, True])
def test_starts_count_code_points_in_every_script(tmp_path: Path, script: str, escaped: bool) -> None:
    context, answer = SCRIPTS[script]
    start = context.index(answer)
    file = write_squad(tmp_path / "te.test.json", [question("1", context, (answer, start))])
    if escaped:
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")), indent=1))
    (row,) = TASK.read(str(tmp_path), "te", "test").table.to_pylist()
    assert row["context"] == context
    assert row["answers"] == [{"text": answer, "start": start}]
    assert row["context"][start : start + len(answer)] == answer
    units = len(context[:start].encode("utf-16-le")) // 2
    if units != start:
        write_squad(tmp_path / "te.test.json", [question("1", context, (answer, units))])
        with pytest.raises(InputError, match="answer not in its context"):
            TASK.read(str(tmp_path), "te", "test")


def test_unusable_rows_are_counted_by_reason_and_told(tmp_path: Path) -> None:
    bad = [
        question("moved", CONTEXT, ("1918", 35)),
        question("one of two", CONTEXT, ("1918", 36), ("Amos", 1)),
        question("negative", CONTEXT, ("first.", -6)),
        question("none", CONTEXT),
        question("blank", CONTEXT, (" ", 4)),
        question("empty", " ", (" ", 0)),
    ]
    write_squad(tmp_path / "te.test.json", [*made("te", 3), *bad])
    rows = TASK.read(str(tmp_path), "te", "test", max_dropped=0.7)
    assert rows.table["id"].to_pylist() == [f"te-{number}-0" for number in range(3)]
    assert rows.dropped == {"answer not in its context": 3, "no answer": 2, "empty text": 1}
    with pytest.raises(InputError) as caught:
        TASK.read(str(tmp_path), "te", "test")
    assert "answer '1918' at 35, where its context has ' 191' in row moved" in str(caught.value)
    assert "te.test.json: 6 of 9 rows unusable" in str(caught.value)


# ---- SQuAD JSON as a stream


def test_a_stream_gives_what_json_gives_at_any_block_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [question(str(number), CONTEXT + " “é” 🍜" * number, ("1918", 36)) for number in range(30)]
    file = write_squad(tmp_path / "x.json", rows, version=1.125, more={"data": [1, 2]})
    wanted = [
        {
            "id": one["id"],
            "context": one["context"],
            "question": one["question"],
            "answers": [{"text": "1918", "start": 36}],
        }
        for one in rows
    ]
    for indent in (None, 2):
        document = json.loads(file.read_text(encoding="utf-8"))
        file.write_text("\n" + json.dumps(dict(reversed(document.items())), indent=indent) + "\n\n")
        for block in (7, 1000, 1 << 20):
            monkeypatch.setattr(_squad, "_BLOCK", block)
            assert list(_squad.questions(file)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 1}',
        '{"data": [{"paragraphs": []}',
        '{"data": [{}]}',
        '{"data": {"a": 1}}',
        "id\tx\n",
    ],
)
def test_what_is_not_squad_json_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "te.test.json").write_text(text)
    with pytest.raises(InputError, match=r"te.test.json.*wanted SQuAD JSON"):
        TASK.read(str(tmp_path), "te", "test")


# ---- translations


def test_translations_pair_by_id_and_may_lack_rows_and_answers(tmp_path: Path) -> None:
    write_squad(tmp_path / "swahili.train.json", made("swahili", 200))
    write_squad(tmp_path / "swahili.dev.json", made("swahili-dev", 3))
    english = [question(one["id"], "It was in 1918.", ("1918", 10)) for one in made("swahili", 200)[::2]]
    write_squad(tmp_path / "swahili.train.english.json", english)
    for split in ("train", "validation"):
        rows = TASK.read_translation(str(tmp_path), "sw", split)
        assert rows is not None
        even = [one for one in ids(tmp_path, "sw", split) if int(one.split("-")[1]) % 2 == 0]
        assert rows.table["id"].to_pylist() == even
        assert rows.table["answers"][0].as_py() == [{"text": "1918", "start": 10}]
    write_tsv(tmp_path / "swahili.dev.english.tsv", ("context", "question"), [("c", "q")] * 3)
    rows = TASK.read_translation(str(tmp_path), "sw", "test")
    assert rows is not None
    assert rows.table.to_pylist()[2] == {
        "id": "swahili-dev-2-0",
        "context": "c",
        "question": "q",
        "answers": [],
    }


def test_a_translation_with_ids_as_json_lines(tmp_path: Path) -> None:
    write_squad(tmp_path / "te.test.json", made("te", 3))
    row = {"id": "te-1-0", "context": "in 1918", "question": "q", "answers": [{"text": "1918", "start": 3}]}
    write_jsonl(tmp_path / "te.test.english.jsonl", [row])
    rows = TASK.read_translation(str(tmp_path), "te", "test")
    assert rows is not None
    assert rows.table.to_pylist() == [row]
    write_jsonl(tmp_path / "te.test.english.jsonl", [row | {"id": "other"}])
    with pytest.raises(InputError, match="a row other that has no place there"):
        TASK.read_translation(str(tmp_path), "te", "test")


def test_rows_of_other_languages_are_no_translations(tmp_path: Path) -> None:
    for name in ("english", "swahili"):
        for split in ("train", "dev", "test"):
            write_squad(tmp_path / f"{name}.{split}.json", made(f"{name}-{split}", 5))
    assert len(TASK.problems(str(tmp_path), ["sw"])) == 3
    files = {split: frozenset({"beside"}) for split in base.SPLITS}
    assert len(TASK.problems(str(tmp_path), ["sw"], files)) == 3
    for split in ("train", "dev", "test"):
        english = [(one["id"], "c", "q") for one in made(f"swahili-{split}", 5)]
        write_tsv(tmp_path / f"swahili.{split}.english.tsv", ("id", "context", "question"), english)
    assert TASK.problems(str(tmp_path), ["sw"], files) == []


# ---- the hub, the sandbox, real files

FEATURES = """\
  - {name: id, dtype: string}
  - {name: title, dtype: string}
  - {name: context, dtype: string}
  - {name: question, dtype: string}
  - name: answers
    sequence:
    - {name: text, dtype: string}
    - {name: answer_start, dtype: int32}"""


def hub_table(rows: list[dict[str, Any]]) -> pa.Table:
    answers = [
        {"text": [text for text, _ in one["answers"]], "answer_start": [start for _, start in one["answers"]]}
        for one in rows
    ]
    typed = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    columns = {name: [one[name] for one in rows] for name in ("id", "context", "question")}
    return pa.table({"title": ["t"] * len(rows), **columns, "answers": pa.array(answers, typed)})


def test_the_hub_gives_the_same_rows_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    names = ("english", "swahili", "telugu")
    data = {
        split: {
            name: [*made(f"{name}-{split}", 120), question(f"{name}-x", CONTEXT, ("1918", 0))]
            for name in names
        }
        for split in ("train", "dev")
    }
    mixed = {split: hub_table(list(chain(*data[split].values()))) for split in data}
    configs = {"secondary_task": {"train": mixed["train"], "validation": mixed["dev"]}}
    repository = str(write_repository(tmp_path / "repository", configs, FEATURES))
    for split, by_name in data.items():
        for name, rows in by_name.items():
            write_squad(tmp_path / "folder" / f"{name}.{split}.json", rows)
    for language in ("eng", "sw", "te"):
        for split in base.SPLITS:
            monkeypatch.setattr(base, "is_local", lambda source: source != repository)
            hub = TASK.read(repository, language, split, max_dropped=0.2)
            local = TASK.read(str(tmp_path / "folder"), language, split, max_dropped=0.2)
            assert hub.table.num_rows > 0
            assert hub.table.equals(local.table)
            assert hub.dropped == local.dropped


def test_the_sandbox_is_parallel(small_sandbox: Path) -> None:
    source = str(small_sandbox / "data" / "tydiqa")
    assert TASK.targets(source) == sorted(world.LANGUAGES)
    assert TASK.problems(source, TASK.targets(source)) == []


def test_real_files(real: Path) -> None:
    source = str(real / "tydiqa_goldp")
    assert TASK.targets(source) == ["bn", "ko", "sw", "te"]
    sizes = {"bn": 113, "ko": 276, "sw": 499, "te": 669, "eng": 440}
    for language, size in sizes.items():
        rows = TASK.read(source, language, "test")
        assert rows.table.num_rows == size
        assert rows.dropped == {}
    for language, size in {"eng": 3696, "sw": 2755}.items():
        parts = [TASK.read(source, language, split).table.num_rows for split in ("train", "validation")]
        assert sum(parts) == size
        assert parts[1] == pytest.approx(size / 10, rel=0.15)


def test_real_xquad(real: Path) -> None:
    source = str(real / "xquad")
    assert TASK.problems(source, ["ar", "th", "es"]) == []
    found = [
        [TASK.read(source, code, split).table["id"] for split in base.SPLITS] for code in ("eng", "ar", "th")
    ]
    assert sum(map(len, found[0])) == 1190
    assert found[0] == found[1] == found[2]


# ---- scores: the official script, evaluate-v1.1.py (https://rajpurkar.github.io/SQuAD-explorer), which XTREME uses


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def f1_score(prediction: str, ground_truth: str) -> float:
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    num_same = sum((Counter(prediction_tokens) & Counter(ground_truth_tokens)).values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def official(gold: list[tuple[str, ...]], predictions: list[str]) -> dict[str, float]:
    exact_match = f1 = 0.0
    for answers, prediction in zip(gold, predictions, strict=True):
        exact_match += max(normalize_answer(prediction) == normalize_answer(answer) for answer in answers)
        f1 += max(f1_score(prediction, answer) for answer in answers)
    return {"exact_match": 100.0 * exact_match / len(gold), "f1": 100.0 * f1 / len(gold)}


def guesses(table: pa.Table, chance: random.Random) -> list[str]:
    """Predictions as models make them: right, a little too long or short, other spans, dressed, empty."""
    found = []
    for row in table.to_pylist():
        answer = chance.choice(row["answers"])
        start, end = answer["start"], answer["start"] + len(answer["text"])
        wide = row["context"][max(0, start - chance.randrange(12)) : end + chance.randrange(12)]
        dressed = f"The {answer['text'].upper()}, a."
        found.append(
            chance.choice([answer["text"], wide, dressed, row["context"][:20], row["question"], "", "the"])
        )
    return found


def check_scores(table: pa.Table) -> None:
    predictions = guesses(table, random.Random(0))
    score = TASK.score(TASK.gold(table), predictions)
    wanted = official(
        [tuple(one["text"] for one in row) for row in table["answers"].to_pylist()], predictions
    )
    assert {name: score[name] for name in wanted} == pytest.approx(wanted)
    assert 0 < score["exact_match"] < score["f1"] < 100


def test_scores_agree_with_the_official_script(tmp_path: Path) -> None:
    rows = [question(f"{name} {number}", context, (answer, context.index(answer)))
            for name, (context, answer) in SCRIPTS.items() for number in range(40)]  # fmt: skip
    rows += [
        question(f"two {number}", CONTEXT, ("1918", 36), ("Amos and Wilfrid Ayre", 0)) for number in range(40)
    ]
    write_squad(tmp_path / "te.test.json", rows)
    check_scores(TASK.read(str(tmp_path), "te", "test").table)


@pytest.mark.parametrize("language", ["eng", "sw", "te", "bn", "ko"])
def test_scores_agree_with_the_official_script_on_real_files(real: Path, language: str) -> None:
    check_scores(TASK.read(str(real / "tydiqa_goldp"), language, "test").table)


def test_what_could_not_be_read_is_wrong_even_where_nothing_would_be_right() -> None:
    assert TASK.score([("the",), ("1918",)], [None, "1918"]) == {"exact_match": 50, "f1": 50, "unparsed": 50}
    assert TASK.score([("the",)], [""])["exact_match"] == 100


# ---- asking


def test_prompt_answer_gold_and_parse(tmp_path: Path) -> None:
    write_squad(tmp_path / "te.test.json", [question("1", CONTEXT, ("Amos", 0), ("1918", 36), ("Amos", 42))])
    table = TASK.read(str(tmp_path), "te", "test").table
    (row,) = table.to_pylist()
    assert TASK.prompt(row) == f"Context: {CONTEXT}\nQuestion: about 1?\nAnswer: "
    assert TASK.answer(row) == "Amos"
    assert TASK.gold(table) == [("Amos", "1918")]
    assert [TASK.parse(text) for text in (" 1918\nQuestion: x", "\n Amos ", " \n", "")] == [
        "1918",
        "Amos",
        None,
        None,
    ]


def test_table_5_of_the_paper() -> None:
    for architecture, epochs in {"encoder": 10, "encoder_decoder": 10, "decoder": 3}.items():
        assert vars(TASK.hyperparameters(architecture)) == {
            "epochs": epochs,
            "batch_size": 64,
            "learning_rate": 2e-4,
            "max_length": 512,
        }
