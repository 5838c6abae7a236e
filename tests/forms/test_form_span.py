"""Spans name exactly the answer's characters, in any script and any window."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from flare_ray import registry
from flare_ray.forms import span as span_form
from flare_ray.forms.base import best_windows
from flare_ray.forms.span import FORM, best_span

TASK = registry.load("tasks", "tydiqa")
TOKENIZERS = ["sandbox-xlm-r", "sandbox-mt5", "me5-small", "minilm"]
CASES = [
    ("وُلِدَ الْكَاتِبُ نَجِيبُ مَحْفُوظ فِي الْقَاهِرَةِ عَامَ 1911 ثم انتقل إلى الإسكندرية.", "أين وُلِدَ؟", "الْقَاهِرَةِ", 0),
    ("বাংলাদেশ ১৯৭১ সালে স্বাধীনতা লাভ করে। রাজধানী ঢাকা, ক্ষুদ্র শহর নয়।", "রাজধানী কোনটি?", "ঢাকা", 0),
    ("హైదరాబాదు తెలంగాణ రాష్ట్ర రాజధాని. ఇది మూసీ నది ఒడ్డున ఉంది.", "ఏ నది?", "మూసీ నది", 0),
    ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย ตั้งอยู่ริมแม่น้ำเจ้าพระยา", "เมืองหลวงคืออะไร", "กรุงเทพมหานคร", 0),
    ("서울은 대한민국의 수도이다. 인구는 약 940만 명이다.", "인구는?", "940만 명", 0),
    ("Party 🎉🎉 at 👩‍👩‍👧 house, then 😀 home at 10:30.", "When?", "10:30", 0),
    ("the cat saw the cat and the dog saw the cat.", "whom?", "cat", 2),
    ("Ａｎｎａ lives in ｱﾘｽ  and   ﬁnds  it  good.", "what?", "ﬁnds  it", 0),
]


def span_text(features: Any, index: int, context: str) -> str:
    first, last = features.by_sequence["span"][index]
    offsets = features.of_token("offsets", index)
    return context[offsets[first, 0] : offsets[last, 1]]


def edges(offsets: np.ndarray) -> tuple[set[int], set[int]]:
    """Where tokens start and end; the mark of a space may share the next token's first character and ends nothing."""
    real = offsets[offsets[:, 0] >= 0]
    inner = {end for end in real[:, 1].tolist() if ((real[:, 0] < end) & (end < real[:, 1])).any()}
    return set(real[:, 0].tolist()), set(real[:, 1].tolist()) - inner


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2])
def test_the_gold_span_is_the_smallest_that_covers_the_answer(
    tokenizer_of: Callable[[str], Any],
    questions: Callable[..., pa.Table],
    name: str,
    case: tuple[str, str, str, int],
) -> None:
    table = questions(case)
    features = FORM.encode(TASK, table, tokenizer_of(name), 256, True)
    answer = table["answers"][0].as_py()[0]
    begin, end = answer["start"], answer["start"] + len(answer["text"])
    assert len(features) == 1
    assert features.counts == {"windowed": 0, "answer_cut": 0}
    offsets = features.of_token("offsets", 0)
    first, last = features.by_sequence["span"][0]
    assert offsets[first, 0] <= begin < offsets[first, 1]
    assert offsets[last, 0] < end
    left = offsets[offsets[:, 0] >= offsets[last, 1]]
    assert end <= offsets[last, 1] or not (left[:, 0] < end).any()  # but for marks that a tokenizer strips
    found = span_text(features, 0, case[0])
    starts, ends = edges(offsets)
    if begin in starts and end in ends:
        assert found == answer["text"]
    if {begin, begin - 1} & starts and end in ends:  # a token may take the space before it
        assert found.strip() == answer["text"]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("length", [16, 24, 32, 64])
def test_windows_cover_the_context_overlap_by_the_stride_and_hold_the_answer(
    tokenizer_of: Callable[[str], Any], questions: Callable[..., pa.Table], name: str, length: int
) -> None:
    words = [f"w{k} na" for k in range(60)]
    context = " ".join(words)
    answers = [f"w{k}" for k in (0, 7, 13, 31, 44, 59)]
    table = questions(
        *((context, "who na?", answer, 0) for answer in answers), ("short one", "who?", "one", 0)
    )
    tokenizer = tokenizer_of(name)
    features = FORM.encode(TASK, table, tokenizer, length, True)
    room = length - length // 2 - tokenizer.num_special_tokens_to_add(pair=True)
    stride = min(length // 4, room - 2)
    assert stride == length // 4 or length < 24
    assert features.lengths.max() <= length
    assert features.counts["windowed"] == len(answers)
    assert all(type(count) is int for count in features.counts.values()), "a record is JSON"
    whole = tokenizer("who na?", context, return_offsets_mapping=True)
    every = [
        pair for pair, part in zip(whole["offset_mapping"], whole.sequence_ids(0), strict=True) if part == 1
    ]
    for row, answer in enumerate(answers):
        windows = np.flatnonzero(features.row_of == row)
        seen: list[tuple[int, int]] = []
        for place, index in enumerate(windows):
            offsets = [tuple(pair) for pair in features.of_token("offsets", index).tolist() if pair[0] >= 0]
            if place:
                assert offsets[:stride] == seen[-stride:]
            seen += offsets[stride if place else 0 :]
        assert seen == every
        holding = [k for k in windows if features.by_sequence["span"][k].any()]
        assert holding
        assert all(span_text(features, k, context).strip() == answer for k in holding)
    assert features.counts["answer_cut"] == 0


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_longest_question_leaves_the_context_room_or_is_an_error(
    tokenizer_of: Callable[[str], Any], questions: Callable[..., pa.Table], name: str
) -> None:
    table = questions(("w na " * 20 + "b", "na w " * 20, "b", 0))
    tokenizer = tokenizer_of(name)
    for length in range(16, 40):
        features = FORM.encode(TASK, table, tokenizer, length, True)
        assert features.lengths.max() <= length
        seen = {pair for k in range(len(features)) for pair in map(tuple, features.of_token("offsets", k))}
        assert len({pair for pair in seen if pair[0] >= 0 and pair[1] > pair[0]}) >= 41
    with pytest.raises(ValueError, match="max_length 8 leaves"):
        FORM.encode(TASK, table, tokenizer, 8, True)


@pytest.mark.parametrize("name", ["sandbox-xlm-r", "sandbox-mt5"])
def test_an_answer_in_no_window_is_counted_and_a_long_question_is_shortened(
    tokenizer_of: Callable[[str], Any], questions: Callable[..., pa.Table], name: str
) -> None:
    context = " ".join(f"w{k}" for k in range(40))
    table = questions((context, "who?", context[:100], 0), (context, "who na " * 40, "w30", 0))
    features = FORM.encode(TASK, table, tokenizer_of(name), 32, True)
    assert features.lengths.max() <= 32
    assert features.counts["answer_cut"] == 1
    assert not features.by_sequence["span"][features.row_of == 0].any()
    assert features.by_sequence["span"][features.row_of == 1].any()


def test_the_gold_answer_changes_no_token(
    tokenizer_of: Callable[[str], Any], questions: Callable[..., pa.Table]
) -> None:
    context = " ".join(f"w{k}" for k in range(40))
    one, two = (
        FORM.encode(
            TASK, questions((context, "who?", answer, 0)), tokenizer_of("sandbox-xlm-r"), 32, training
        )
        for answer, training in (("w1", False), ("w39", True))
    )
    assert np.array_equal(one.tokens, two.tokens)
    assert np.array_equal(one.starts, two.starts)


def brute(starts: np.ndarray, ends: np.ndarray, inside: np.ndarray) -> float:
    width = len(starts)
    allowed = [
        starts[i] + ends[j]
        for i in range(width)
        for j in range(i, min(width, i + span_form.MAX_ANSWER))
        if inside[i] and inside[j]
    ]
    return max(allowed, default=-np.inf)


@pytest.mark.parametrize("longest", [1, 3, 64])
def test_best_span_is_the_best_of_all_allowed_spans(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    monkeypatch.setattr(span_form, "MAX_ANSWER", longest)
    draw = np.random.default_rng(longest)
    for width in (1, 2, 5, 11):
        starts, ends = draw.normal(size=(2, 8, width)).astype(np.float32)
        inside = draw.random((8, width)) < 0.6
        inside[0] = False
        score, first, last = best_span(*map(torch.from_numpy, (starts, ends, inside)))
        for row in range(8):
            wanted = brute(starts[row], ends[row], inside[row])
            assert score[row] == pytest.approx(wanted)
            if np.isfinite(wanted):
                i, j = first[row], last[row]
                assert inside[row, i]
                assert inside[row, j]
                assert 0 <= j - i < longest
                assert starts[row, i] + ends[row, j] == pytest.approx(wanted)


class Says:
    """A model whose logits are given."""

    def __init__(self, starts: torch.Tensor, ends: torch.Tensor):
        self.output = SimpleNamespace(start_logits=starts, end_logits=ends)

    def __call__(self, **inputs: Any) -> Any:
        return self.output


@pytest.mark.parametrize("name", ["sandbox-xlm-r", "sandbox-mt5"])
def test_predictions_never_leave_the_context_and_sure_logits_give_the_answer(
    tokenizer_of: Callable[[str], Any], questions: Callable[..., pa.Table], name: str
) -> None:
    context = " ".join(f"w{k} na" for k in range(20))
    table = questions(*((context, "who na?", f"w{k}", 0) for k in (2, 9, 19)))
    tokenizer = tokenizer_of(name)
    features = FORM.encode(TASK, table, tokenizer, 32, False)
    chosen = list(range(len(features)))[::-1]
    inputs = FORM.inputs(features, chosen, tokenizer, False)
    shape = inputs["input_ids"].shape
    starts, ends = torch.randn(2, *shape)
    starts[:, 0] = ends[:, -1] = 100.0  # tempting, and outside
    starts[:, -1] = ends[:, 0] = 100.0
    for one in FORM.predict(Says(starts, ends), inputs, features, chosen, TASK, tokenizer, {}):
        assert one["prediction"]
        assert context[one["start"] :].startswith(one["prediction"])
    starts, ends = torch.zeros(2, *shape)
    for place, index in enumerate(chosen):
        first, last = features.by_sequence["span"][index]
        if last:
            starts[place, first] = ends[place, last] = 10.0
    found = FORM.predict(Says(starts, ends), inputs, features, chosen, TASK, tokenizer, {})
    ordered = [found[chosen.index(k)] for k in range(len(features))]
    best = best_windows(features.rows, features.row_of, ordered)
    assert [one["prediction"] for one in best] == ["w2", "w9", "w19"]
    assert TASK.score(TASK.gold(table), [one["prediction"] for one in best])["exact_match"] == 100


def test_of_a_rows_windows_the_highest_score_wins_the_first_of_equals() -> None:
    says = [{"prediction": str(k), "score": score} for k, score in enumerate([1.0, 3.0, 3.0, -1.0, -2.0])]
    best = best_windows(2, np.array([0, 0, 0, 1, 1]), says)
    assert [one["prediction"] for one in best] == ["1", "3"]
