"""Which gold answers can be given at all, and what windows, longer answers and whole letters change about it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_form_span import Says
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from flare_ray import registry
from flare_ray.forms import generation, span
from flare_ray.forms._answers import NO_SPAN, NOT_IN_PROMPT, TOO_LONG
from flare_ray.forms._likelihood import AnswerLikelihood
from flare_ray.forms._reading import USUAL, ReadingOptions
from flare_ray.forms.base import best_windows

QA = registry.load("tasks", "tydiqa")
WINDOWS = ReadingOptions(windows=True)
CONTEXT = " ".join(f"w{k} na" for k in range(60)) + "."
Table = Callable[..., pa.Table]


@pytest.fixture(params=["sandbox-llama", "sandbox-gemma2"])
def decoder(request: pytest.FixtureRequest, tokenizer_of: Callable[[str], Any]) -> Any:
    return tokenizer_of(request.param)


def composing(normalizer: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters that rewrites its text, as XLM-R's (NFKC) and uncased BERT's do."""
    letters = [chr(k) for k in range(33, 0x250)] + [chr(k) for k in range(0xC00, 0xC80)]
    letters += [chr(k) for k in range(0x1E00, 0x1F00)] + list("한국어서울도쿄ガプ")
    words = ["<pad>", "<s>", "</s>", "<unk>", *dict.fromkeys(letters)]
    made = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


# ---- what is counted


def test_an_answer_outside_of_the_prompt_is_counted_and_caps_the_exact_match(
    decoder: Any, questions: Table
) -> None:
    table = questions(*((CONTEXT, "who na?", answer, 0) for answer in ("w0", "w3 na", "w58", "w59")))
    features = generation.FORM.encode(QA, table, decoder, 64, False)
    assert features.lost_counts == {NOT_IN_PROMPT: 2}
    assert features.ceiling == 50
    assert features.lost[NOT_IN_PROMPT].tolist() == [False, False, True, True]
    kept = features.take_rows(np.array([0, 2, 3]))
    assert kept.lost_counts == {NOT_IN_PROMPT: 2}
    assert kept.ceiling == pytest.approx(100 / 3)
    assert features.take_rows(np.array([0])).lost_counts == {}
    assert generation.FORM.encode(QA, table, decoder, 64, True).lost_counts == {}
    assert generation.FORM.encode(QA, table, decoder, 1024, False).ceiling == 100


def test_any_gold_answer_that_is_read_is_enough(decoder: Any) -> None:
    def encoded(*answers: str) -> Any:
        gold = [{"text": answer, "start": CONTEXT.index(answer)} for answer in answers]
        row = {"id": "1", "context": CONTEXT, "question": "who?", "answers": gold}
        return generation.FORM.encode(QA, pa.Table.from_pylist([row], QA.schema()), decoder, 64, False)

    assert encoded("w59", "w1").lost_counts == {}
    assert encoded("w59", "w58").lost_counts == {NOT_IN_PROMPT: 1}


def test_a_longer_answer_than_the_longest_is_counted_and_the_bound_can_be_raised(
    decoder: Any, questions: Table
) -> None:
    answer = CONTEXT[:200].strip()
    table = questions((CONTEXT, "who?", answer, 0), (CONTEXT, "who?", "w1", 0))
    size = len(decoder(answer, add_special_tokens=False)["input_ids"])
    assert size > 64
    assert generation.FORM.encode(QA, table, decoder, 1024, False).lost_counts == {TOO_LONG: 1}
    for longest, lost in ((size - 1, {TOO_LONG: 1}), (size, {})):
        reading = ReadingOptions(max_answer=longest)
        assert generation.FORM.encode(QA, table, decoder, 1024, False, reading).lost_counts == lost
    trained = generation.FORM.encode(QA, table, decoder, 1024, True, ReadingOptions(max_answer=size + 1))
    assert trained.counts["answer_cut"] == 0


@pytest.mark.parametrize("name", ["sandbox-xlm-r", "sandbox-mt5"])
def test_a_span_longer_than_the_longest_is_counted_and_found_where_it_may_be(
    tokenizer_of: Callable[[str], Any], questions: Table, name: str
) -> None:
    answer = CONTEXT[:230].strip()
    table, tokenizer = questions((CONTEXT, "who?", answer, 0)), tokenizer_of(name)
    for reading, lost in ((USUAL, {NO_SPAN: 1}), (ReadingOptions(max_answer=400), {})):
        features = span.FORM.encode(QA, table, tokenizer, 512, False, reading)
        assert features.lost_counts == lost
        found = say_gold(features, tokenizer)
        assert QA.score(QA.gold(table), found)["exact_match"] == features.ceiling


def test_an_answer_that_ends_inside_of_a_token_is_counted(questions: Table) -> None:
    made = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")
    context = "హైదరాబాదులో (1918) the end. cats"
    table = questions(
        (context, "q?", "హైదరాబాదు", 0),
        (context, "q?", "1918", 0),
        (context, "q?", "cat", 0),
        (context, "q?", "end", 0),
    )
    features = span.FORM.encode(QA, table, words, 64, False)
    assert features.lost[NO_SPAN].tolist() == [True, False, True, False]
    assert features.ceiling == 50
    assert QA.score(QA.gold(table), say_gold(features, words))["exact_match"] == 50


def test_an_answer_whose_text_another_span_gives_is_not_lost(questions: Table) -> None:
    made = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")
    features = span.FORM.encode(QA, questions(("cats and a Cat.", "q?", "cat", 0)), words, 64, False)
    assert features.lost_counts == {}


def say_gold(features: Any, tokenizer: Any) -> list[str]:
    """Predictions of a span model that points at the gold span, as far as it may."""
    chosen = list(range(len(features)))
    inputs = span.FORM.inputs(features, chosen, tokenizer, False)
    starts, ends = torch.zeros(2, *inputs["input_ids"].shape)
    for place, (first, last) in enumerate(features.by_sequence["span"]):
        if last:
            starts[place, first] = ends[place, last] = 10.0
    said = span.FORM.predict(Says(starts, ends), inputs, features, chosen, QA, tokenizer, {})
    return [one["prediction"] for one in best_windows(features.rows, features.row_of, said)]


# ---- whole letters


NORMALIZERS = {
    "nfc": normalizers.NFC(),
    "nfkc": normalizers.NFKC(),
    "accents stripped": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
}
DECOMPOSED = [
    ("Quán cà phê ở phố Huế.", "Huế"),
    ("Nó là của bà ấ", "ấ"),
    ("서울은 한국의 수도", "한국"),
    ("수도는 서울", "서울"),
    ("Le café, près d'ici", "café"),
    ("నది పేరు కై ఉంది", "కై"),
    ("ｶﾞ と ﾌﾟ", "ﾌﾟ"),
]


@pytest.mark.parametrize("kind", NORMALIZERS)
@pytest.mark.parametrize(("context", "answer"), DECOMPOSED, ids=[answer for _, answer in DECOMPOSED])
@pytest.mark.parametrize("length", [24, 64])
def test_the_last_mark_of_decomposed_text_stays(
    questions: Table, kind: str, context: str, answer: str, length: int
) -> None:
    form = unicodedata.normalize("NFD", context), "q?", unicodedata.normalize("NFD", answer), 0
    table, tokenizer = questions(form), composing(NORMALIZERS[kind])
    features = span.FORM.encode(QA, table, tokenizer, length, False)
    assert say_gold(features, tokenizer) == [form[2]]
    assert features.ceiling == 100


@pytest.mark.parametrize("name", ["sandbox-xlm-r", "sandbox-mt5"])
def test_offsets_of_text_whose_marks_have_tokens_stay(
    tokenizer_of: Callable[[str], Any], questions: Table, name: str
) -> None:
    context = "హైదరాబాదు తెలంగాణ రాష్ట్ర రాజధాని. Quán cà phê. 서울"
    tokenizer = tokenizer_of(name)
    features = span.FORM.encode(QA, questions((context, "q?", "తెలంగాణ", 0)), tokenizer, 24, False)
    for index in range(len(features)):
        offsets = features.of_token("offsets", index)
        mine = {tuple(pair) for pair in offsets.tolist() if pair[0] >= 0}
        assert mine <= set(tokenizer("q?", context, return_offsets_mapping=True)["offset_mapping"])


# ---- windows of a generating model


@pytest.mark.parametrize("length", [48, 64, 100])
def test_windows_show_the_whole_context_and_each_its_whole_question(
    decoder: Any, questions: Table, length: int
) -> None:
    table = questions((CONTEXT, "who na?", "w59", 0), ("short one", "who?", "one", 0))
    features = generation.FORM.encode(QA, table, decoder, length, False, WINDOWS)
    assert features.lengths.max() <= length
    assert features.lost_counts == {}
    assert (features.row_of == 1).sum() == 1
    mine = np.flatnonzero(features.row_of == 0)
    assert len(mine) > 1
    seen: set[str] = set()
    for index in mine:
        read = decoder.decode(generation.FORM.read(features, index, False), skip_special_tokens=True)
        assert read.startswith("Context:")
        assert read.endswith("\nQuestion: who na?\nAnswer: ")
        seen.update(read.removeprefix("Context:").partition("\n")[0].replace(".", "").split())
    assert {f"w{k}" for k in range(60)} <= seen
    edges = features.by_sequence["shown"][mine].tolist()
    assert edges[0][0] == 0
    assert edges[-1][1] == len(CONTEXT)
    assert all(after[0] < before[1] for before, after in pairwise(edges)), "they overlap"
    texts = generation.FORM.texts(QA, features, mine.tolist())
    for text, (begin, end) in zip(texts, edges, strict=True):
        assert text == f"Context: {CONTEXT[begin:end]}\nQuestion: who na?\nAnswer: "


def test_training_reads_the_window_with_the_answer(decoder: Any, questions: Table) -> None:
    answers = [f"w{k} na" for k in (0, 20, 41, 58)]
    table = questions(*((CONTEXT, "who?", answer, 0) for answer in answers))
    features = generation.FORM.encode(QA, table, decoder, 64, True, WINDOWS)
    assert features.row_of.tolist() == [0, 1, 2, 3]
    tested = generation.FORM.encode(QA, table, decoder, 64, False, WINDOWS)
    for index, answer in enumerate(answers):
        prompt = generation.FORM.read(features, index, False)
        assert answer in decoder.decode(prompt, skip_special_tokens=True).partition("\nQuestion")[0]
        windows = [
            generation.FORM.read(tested, k, False).tolist() for k in np.flatnonzero(tested.row_of == index)
        ]
        assert prompt.tolist() in windows, "one of the windows that evaluation reads"


def test_gold_answers_have_no_say_in_the_windows_of_evaluation(decoder: Any, questions: Table) -> None:
    one, two = (
        generation.FORM.encode(QA, questions((CONTEXT, "who?", answer, 0)), decoder, 64, False, WINDOWS)
        for answer in ("w0", CONTEXT[40:200])
    )
    assert len(one) == len(two)
    for index in range(len(one)):
        read = (generation.FORM.read(features, index, False) for features in (one, two))
        assert np.array_equal(*read)


def test_a_long_question_leaves_each_window_a_quarter_for_its_context(decoder: Any, questions: Table) -> None:
    table = questions((CONTEXT, "who na " * 50, "w59", 0))
    features = generation.FORM.encode(QA, table, decoder, 96, False, WINDOWS)
    assert features.lengths.max() <= 96
    assert features.lost_counts == {}
    with pytest.raises(ValueError, match="no room"):
        generation.FORM.encode(QA, table, decoder, 16, False, WINDOWS)


def test_windows_change_no_task_with_labels_and_no_short_prompt(decoder: Any, questions: Table) -> None:
    nusax = registry.load("tasks", "nusax")
    long = pa.Table.from_pylist([{"id": "1", "text": "na " * 90, "label": "neutral"}], nusax.schema())
    for task, table in ((nusax, long), (QA, questions(("short one", "who?", "one", 0)))):
        one, two = (
            generation.FORM.encode(task, table, decoder, 48, False, reading) for reading in (USUAL, WINDOWS)
        )
        assert np.array_equal(one.tokens, two.tokens)
        assert one.starts.tolist() == two.starts.tolist()


class Writes:
    """A model that generates given tokens with given probabilities, through `logits_processor` as transformers do."""

    def __init__(self, said: list[list[tuple[int, float]]], pad: int, size: int):
        self.said, self.pad, self.size = said, pad, size

    def generate(self, input_ids: torch.Tensor, logits_processor: Any = (), **asked: Any) -> torch.Tensor:
        for step in range(max(map(len, self.said))):
            scores = torch.full((len(self.said), self.size), -1e4)
            chosen = []
            for row, said in enumerate(self.said):
                token, share = said[step] if step < len(said) else (self.pad, 0.9)
                scores[row, token], scores[row, (token + 1) % self.size] = np.log(share), np.log(1 - share)
                chosen.append(token)
            for processor in logits_processor:
                assert torch.equal(processor(input_ids, scores), scores)
            input_ids = torch.cat([input_ids, torch.tensor(chosen)[:, None]], 1)
        return input_ids


def test_the_answer_of_the_highest_likelihood_wins(decoder: Any, questions: Table) -> None:
    table = questions((CONTEXT, "who?", "w59", 0))
    features = generation.FORM.encode(QA, table, decoder, 64, False, WINDOWS)
    chosen, end = list(range(len(features))), decoder.eos_token_id
    assert len(chosen) >= 3

    def says(text: str, share: float) -> list[tuple[int, float]]:
        return [(token, share) for token in [*decoder(text, add_special_tokens=False)["input_ids"], end]]

    said = [says("w1", 0.6) for _ in chosen]
    said[-1], said[0] = says("w59", 0.8), says("w2 na na", 0.75)
    model = Writes(said, decoder.pad_token_id, len(decoder))
    inputs = generation.FORM.inputs(features, chosen, decoder, False)
    found = generation.FORM.predict(model, inputs, features, chosen, QA, decoder, {})
    for one, tokens in zip(found, said, strict=True):
        assert one["score"] == pytest.approx(sum(np.log(share) for _, share in tokens), abs=1e-3)
    best = best_windows(1, features.row_of, found)
    assert best[0]["prediction"] == "w59"
    assert QA.score(QA.gold(table), [best[0]["prediction"]])["exact_match"] == 100


def test_a_likelihood_ends_with_its_answer() -> None:
    likelihood = AnswerLikelihood(width=1, end=2)
    scores = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]).log()
    likelihood(torch.tensor([[2], [0]]), scores)  # type: ignore[arg-type]
    likelihood(torch.tensor([[2, 2], [0, 1]]), scores)  # type: ignore[arg-type]
    assert likelihood.sums() == pytest.approx([np.log(0.5), 2 * np.log(0.5)])
    assert AnswerLikelihood(1, 2).sums() == []


# ---- answers of several lines


@pytest.mark.parametrize(
    "answer", ["one\ntwo", "one\r\ntwo", "one\n\n\ntwo", "\n one\ntwo \n", "one\n two\nthree"]
)
def test_an_answer_of_several_lines_that_is_generated_exactly_is_right(
    decoder: Any, questions: Table, answer: str
) -> None:
    table = questions((f"The motto is: {answer}. End.", "What is the motto?", answer, 0))
    assert QA.score(QA.gold(table), [QA.parse(answer)])["exact_match"] == 100
    features = generation.FORM.encode(QA, table, decoder, 256, False)
    lines = generation.answers_have_lines(features)
    assert lines
    text = decoder.decode(decoder(answer, add_special_tokens=False)["input_ids"])
    if QA.score(QA.gold(table), [text])["exact_match"] == 100:  # it has tokens for the line break
        said = [[*decoder(answer, add_special_tokens=False)["input_ids"], decoder.eos_token_id]]
        assert read_back(features, decoder, said) == [text.strip()]


def test_where_no_answer_has_several_lines_an_answer_ends_with_its_first(
    decoder: Any, questions: Table
) -> None:
    def ids(text: str) -> list[int]:
        return [*decoder(text, add_special_tokens=False)["input_ids"], decoder.eos_token_id]

    table = questions(("w1 na", "who?", "w1", 0))
    features = generation.FORM.encode(QA, table, decoder, 64, False)
    assert read_back(features, decoder, [ids("\nw1\nna")]) == ["w1"]
    assert read_back(features, decoder, [ids("\n")]) == [None]


def test_a_further_prompt_is_no_part_of_an_answer() -> None:
    said = {
        "one\ntwo\nQuestion: x": "one\ntwo",
        " one\r\n\n Context: y": "one",
        "Question: x": "Question: x",
        "one\nAnswer": "one\nAnswer",
        " \n": None,
    }
    assert {text: QA.parse(text) for text in said} == said


def read_back(features: Any, tokenizer: Any, said: list[list[int]]) -> list[str | None]:
    chosen = list(range(len(said)))
    model = Writes(
        [[(token, 0.9) for token in tokens] for tokens in said], tokenizer.pad_token_id, len(tokenizer)
    )
    inputs = generation.FORM.inputs(features, chosen, tokenizer, False)
    found = generation.FORM.predict(model, inputs, features, chosen, QA, tokenizer, {})
    return [one["prediction"] for one in found]
