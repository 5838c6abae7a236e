"""Laws of the corpora, on the files: parallel, balanced, unleaked, exact."""

import csv
import json
from collections import Counter

import pytest

from flare_ray.sandbox import concepts, parallel, text, world
from flare_ray.sandbox.corpora import SIZES, SMALL_SIZES, corpora, save, sentences
from flare_ray.sandbox.lexicon import lexicon


@pytest.fixture(scope="module")
def tasks():
    return corpora()


@pytest.fixture(scope="module")
def data(tasks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save(tasks, folder)
    return folder


def nusax(data, name, split):
    with (data / "nusax" / name / f"{split}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def xnli(data, name, split):
    with (data / "xnli" / f"{name}.{split}.tsv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def tydiqa(data, name, split):
    return json.loads((data / "tydiqa" / f"{name}.{split}.json").read_text(encoding="utf-8"))["data"]


def test_sentiment_is_parallel(data):
    for split, size in SIZES["nusax"].items():
        source = nusax(data, world.SOURCE, split)
        assert list(source[0]) == ["id", "text", "label"]
        assert len(source) == size
        for code in world.LANGUAGES:
            target = nusax(data, code, split)
            assert [(row["id"], row["label"]) for row in target] == [
                (row["id"], row["label"]) for row in source
            ]
            same = sum(one["text"] == other["text"] for one, other in zip(source, target, strict=True))
            assert same <= 0.1 * size


def test_sentiment_labels_are_balanced(data):
    for split in SIZES["nusax"]:
        counts = Counter(row["label"] for row in nusax(data, world.SOURCE, split))
        assert set(counts) == {"negative", "neutral", "positive"}
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", world.folders())
def test_no_text_is_in_two_rows_or_splits(data, name):
    texts = [row["text"] for split in SIZES["nusax"] for row in nusax(data, name, split)]
    assert len(set(texts)) == len(texts)
    ids = [row["id"] for split in SIZES["nusax"] for row in nusax(data, name, split)]
    assert len(set(ids)) == len(ids)
    premises = [row["premise"] for split in SIZES["xnli"] for row in xnli(data, name, split)]
    assert len(set(premises)) == len(premises)
    contexts = [d["paragraphs"][0]["context"] for s in SIZES["tydiqa"] for d in tydiqa(data, name, s)]
    assert len(set(contexts)) == len(contexts)


def test_texts_are_short_and_carry_no_layout(data):
    for name in world.folders():
        for split in SIZES["nusax"]:
            for row in nusax(data, name, split):
                assert 2 <= len(row["text"].split()) <= 24
                assert row["text"] == " ".join(row["text"].split())


def test_training_lacks_the_held_out_words_and_test_uses_them(data):
    def share(split):
        hits = [
            any(word.rstrip("d") in held for word in row["text"].replace(".", " ").replace(",", " ").split())
            for row in nusax(data, world.SOURCE, split)
        ]
        return sum(hits) / len(hits)

    held = {word.rstrip("d") for word in concepts.HELD_OUT}
    assert share("train") == 0
    assert 0.2 < share("test") < 0.5


def test_no_word_gives_the_label_away(data):
    """Every frequent word occurs under more than one label: the best single word decides few rows."""
    rows = nusax(data, world.SOURCE, "train")
    by_word: dict[str, Counter] = {}
    for row in rows:
        for word in set(row["text"].replace(",", "").replace(".", "").split()):
            by_word.setdefault(word, Counter())[row["label"]] += 1
    for word in (*concepts.POSITIVE, *concepts.NEGATIVE):
        counts = by_word.get(word, Counter())
        if sum(counts.values()) >= 15:
            assert max(counts.values()) / sum(counts.values()) < 0.9, word


def test_inference_is_parallel_and_balanced(data):
    for split, size in SIZES["xnli"].items():
        labels = [row["label"] for row in xnli(data, world.SOURCE, split)]
        assert len(labels) == size
        assert set(Counter(labels).values()) == {size // 3}
        assert set(labels) == {"0", "1", "2"}
        for code in world.LANGUAGES:
            assert [row["label"] for row in xnli(data, code, split)] == labels


def test_answers_are_in_their_contexts(data):
    for name in world.folders():
        for split, size in SIZES["tydiqa"].items():
            documents = tydiqa(data, name, split)
            assert len(documents) == size
            for document in documents:
                (paragraph,) = document["paragraphs"]
                (question,) = paragraph["qas"]
                (answer,) = question["answers"]
                start = answer["answer_start"]
                assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]
                assert question["question"].endswith("?")


def test_questions_are_parallel(data):
    for split in SIZES["tydiqa"]:
        ids = [d["paragraphs"][0]["qas"][0]["id"] for d in tydiqa(data, world.SOURCE, split)]
        assert len(set(ids)) == len(ids)
        for code in world.LANGUAGES:
            assert [d["paragraphs"][0]["qas"][0]["id"] for d in tydiqa(data, code, split)] == ids


def test_pretraining_text_holds_no_sentence_of_a_task(data, tasks):
    forbidden = text.taboo(sentences(tasks))
    lines, pairs = text.lines(4000, forbidden), parallel.pairs(2000, forbidden)
    for name in world.folders():
        ours = {row["text"] for split in SIZES["nusax"] for row in nusax(data, name, split)}
        ours |= {row["premise"] for split in SIZES["xnli"] for row in xnli(data, name, split)}
        written = [line.text for line in lines if line.folder == name and line.translation is None]
        written += [line.translation.text for line in lines if line.translation]
        written += [line.text for line in lines if line.translation] if name == world.SOURCE else []
        written += [pair.english if name == world.SOURCE else pair.target for pair in pairs]
        for line in written:
            stops = [at + 1 for at, letter in enumerate(line) if letter in ".?"]
            pieces = {line[start:stop].strip() for start in [0, *stops] for stop in stops if stop > start}
            assert not pieces & ours


def test_pretraining_text_is_mostly_english(tasks):
    lines = text.lines(4000, text.taboo(sentences(tasks)))
    counts = Counter(line.folder for line in lines if line.translation is None)
    assert 0.65 < counts[world.SOURCE] / len(lines) < 0.85
    assert list(dict(counts.most_common())) == list(world.folders())


def test_the_small_corpora_have_their_sizes():
    small = corpora(small=True)
    assert {
        task: {split: len(rows) for split, rows in corpus.items()} for task, corpus in small.items()
    } == SMALL_SIZES


def test_a_sound_change_is_no_translation():
    """A near language shares words with English, the farthest only names."""
    english = set(lexicon(world.ENGLISH).values())
    near, far = (set(lexicon(world.LANGUAGES[code]).values()) for code in ("qal", "qtu"))
    assert len(near & english) > 50
    assert far & english <= set(concepts.PROPER)


def test_parallel_text_has_its_markers_on_both_sides():
    pairs = parallel.pairs(2000, text.taboo(()))
    assert {pair.folder for pair in pairs} == set(world.LANGUAGES)
    marked = [pair for pair in pairs if any(mark in pair.english for mark in '["<')]
    assert 0.25 < len(marked) / len(pairs) < 0.6
    for pair in marked:
        for opening, closing in parallel.MARKERS:
            assert (opening in pair.english) == (opening in pair.target)
            assert pair.english.count(closing) == pair.target.count(closing)


def test_a_lines_parts_make_its_text():
    for line in text.lines(300, text.taboo(())):
        assert line.text.startswith(line.told)
        assert line.text.endswith(line.closing)
        if line.kind == "interview":
            assert line.label in line.told
            assert line.closing == f"{line.label}."
