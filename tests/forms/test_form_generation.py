"""Prompts and answers: what is learned, what is cut, what is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from flare_ray import registry
from flare_ray.forms.generation import FORM, IGNORED, MAX_ANSWER, answer_room

QA = registry.load("tasks", "tydiqa")
XNLI = registry.load("tasks", "xnli")
NUSAX = registry.load("tasks", "nusax")
TOKENIZERS = ["sandbox-llama", "sandbox-gemma2"]
CONTEXT = " ".join(f"w{k} na" for k in range(40)) + "."


def rows(task: Any, *values: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"id": str(k), **row} for k, row in enumerate(values)], task.schema())


def sentiment(*texts: str, label: str = "positive") -> pa.Table:
    return rows(NUSAX, *({"text": text, "label": label} for text in texts))


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, tokenizer_of: Callable[[str], Any]) -> Any:
    return tokenizer_of(request.param)


def test_a_sequence_is_one_beginning_the_prompt_the_answer_and_one_end(tokenizer: Any) -> None:
    table = sentiment("gud film", label="neutral")
    features = FORM.encode(NUSAX, table, tokenizer, 64, True)
    tokens, size = features.sequence(0).tolist(), features.by_sequence["prompt"][0]
    assert tokens.count(tokenizer.bos_token_id) == 1
    assert tokens[0] == tokenizer.bos_token_id
    assert tokens.count(tokenizer.eos_token_id) == 1
    assert tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(tokens[size:], skip_special_tokens=True).strip() == "neutral"
    assert tokenizer.decode(tokens[:size], skip_special_tokens=True) == NUSAX.prompt(table.to_pylist()[0])


def test_the_loss_sees_answers_only(tokenizer: Any) -> None:
    features = FORM.encode(NUSAX, sentiment("gud", "a bad and long film it be"), tokenizer, 64, True)
    inputs = FORM.inputs(features, [0, 1], tokenizer, True)
    for place in range(2):
        size, length = features.by_sequence["prompt"][place], features.lengths[place]
        labels, tokens = inputs["labels"][place], inputs["input_ids"][place]
        assert (labels[:size] == IGNORED).all()
        assert torch.equal(labels[size:length], tokens[size:length])
        assert (labels[length:] == IGNORED).all()
        assert inputs["attention_mask"][place].tolist() == [1] * length + [0] * (len(tokens) - length)
        assert (labels != IGNORED).sum() == FORM.items(features)[place]


def test_evaluation_pads_left_and_shows_no_answer(tokenizer: Any) -> None:
    features = FORM.encode(NUSAX, sentiment("gud", "a bad and long film it be"), tokenizer, 64, False)
    inputs = FORM.inputs(features, [1, 0, -1], tokenizer, False)
    assert set(inputs) == {"input_ids", "attention_mask"}
    for place, index in enumerate((1, 0)):
        size = int(features.by_sequence["prompt"][index])
        assert inputs["attention_mask"][place].sum() == size
        assert inputs["attention_mask"][place, -size:].all()
        assert inputs["input_ids"][place, -size:].tolist() == features.sequence(index)[:size].tolist()
    assert not inputs["attention_mask"][2].any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("length", [40, 64, 90])
def test_a_long_prompt_keeps_its_end_and_in_training_its_answer(
    tokenizer: Any, training: bool, length: int
) -> None:
    answers = [f"w{k} na" for k in (0, 3, 20, 38)]
    values = [
        {
            "context": CONTEXT,
            "question": "who na?",
            "answers": [{"text": answer, "start": CONTEXT.index(answer)}],
        }
        for answer in answers
    ]
    features = FORM.encode(QA, rows(QA, *values), tokenizer, length, training)
    assert features.counts == {"truncated": len(answers), "answer_cut": 0}
    room = answer_room(QA, tokenizer, length)
    for index, answer in enumerate(answers):
        size = features.by_sequence["prompt"][index]
        assert size <= length - room
        assert features.lengths[index] <= length
        prompt = tokenizer.decode(features.sequence(index)[:size], skip_special_tokens=True)
        assert prompt.startswith("Context:")
        assert prompt.endswith("\nQuestion: who na?\nAnswer: ")
        if training:
            assert answer in prompt.partition("\nQuestion")[0]
    if not training:
        prompts = {tuple(FORM.read(features, k, False).tolist()) for k in range(len(features))}
        assert len(prompts) == 1


def test_where_the_first_text_is_not_enough_the_next_is_cut(tokenizer: Any) -> None:
    table = rows(XNLI, {"premise": "e", "hypothesis": "w na " * 60, "label": "neutral"})
    features = FORM.encode(XNLI, table, tokenizer, 48, False)
    assert features.lengths.max() <= 48
    assert features.counts["truncated"] == 1
    prompt = tokenizer.decode(FORM.read(features, 0, False), skip_special_tokens=True)
    assert prompt.startswith("Premise:")
    assert "\nHypothesis:" in prompt
    assert prompt.endswith("\nLabel: ")


def test_the_gold_answer_has_no_say_in_evaluation(tokenizer: Any) -> None:
    def encoded(answer: str) -> Any:
        gold = [{"text": answer, "start": CONTEXT.index(answer)}]
        return FORM.encode(
            QA, rows(QA, {"context": CONTEXT, "question": "who?", "answers": gold}), tokenizer, 64, False
        )

    one, two = encoded("w0"), encoded(CONTEXT[20:])
    assert np.array_equal(FORM.read(one, 0, False), FORM.read(two, 0, False))
    assert np.array_equal(FORM.prompt(one, 0), FORM.prompt(two, 0))
    for limit in (80, 100, 128):
        joined = [FORM.join(one_of, one, np.array([0]), tokenizer, limit) for one_of in (one, two)]
        assert np.array_equal(FORM.read(joined[0], 0, False), FORM.read(joined[1], 0, False))


def test_a_row_without_an_answer_is_read(tokenizer: Any) -> None:
    """A machine-translated test row has texts only."""
    table = rows(QA, {"context": CONTEXT, "question": "who?", "answers": []})
    features = FORM.encode(QA, table, tokenizer, 64, False)
    assert len(FORM.read(features, 0, False)) == features.by_sequence["prompt"][0]


def test_room_for_the_answer_fits_every_label_and_depends_on_no_row(tokenizer: Any) -> None:
    room = answer_room(NUSAX, tokenizer, 64)
    assert room == answer_room(NUSAX, tokenizer, 4 * MAX_ANSWER)
    for label in NUSAX.labels:
        assert len(tokenizer(label, add_special_tokens=False)["input_ids"]) < room
        features = FORM.encode(NUSAX, sentiment("gud " * 90, label=label), tokenizer, 32, True)
        assert features.counts == {"truncated": 1, "answer_cut": 0}
    assert answer_room(QA, tokenizer, 4 * MAX_ANSWER) == MAX_ANSWER


class Generates:
    """A model that says the given tokens to each row of a batch."""

    def __init__(self, said: list[list[int]], pad: int):
        self.said, self.pad, self.asked = said, pad, {}

    def generate(self, input_ids: torch.Tensor, **asked: Any) -> torch.Tensor:
        self.asked = asked
        width = max(map(len, self.said))
        rest = torch.tensor([said + [self.pad] * (width - len(said)) for said in self.said])
        return torch.cat([input_ids, rest], 1)


def test_what_is_generated_is_read_back(tokenizer: Any) -> None:
    features = FORM.encode(NUSAX, sentiment("gud", "a bad and long film", "x"), tokenizer, 64, False)
    inputs = FORM.inputs(features, [0, 1, 2], tokenizer, False)
    end = tokenizer.eos_token_id
    answer = features.sequence(0)[features.by_sequence["prompt"][0] :].tolist()
    rubbish = tokenizer("zzz", add_special_tokens=False)["input_ids"]
    model = Generates([answer, [*rubbish, end], [end]], tokenizer.pad_token_id)
    found = FORM.predict(model, inputs, features, [0, 1, 2], NUSAX, tokenizer, {"synced_gpus": True})
    assert [one["prediction"] for one in found] == ["positive", None, None]
    assert found[0]["generated"].strip() == "positive"
    assert model.asked["max_new_tokens"] == answer_room(NUSAX, tokenizer, 64)
    assert model.asked["synced_gpus"]
    assert model.asked["do_sample"] is False


def test_any_answer_of_the_corpus_decodes_to_itself(tokenizer: Any) -> None:
    answers = ["w38 na", "w0", "na."]
    values = [
        {"context": CONTEXT, "question": "who?", "answers": [{"text": a, "start": CONTEXT.index(a)}]}
        for a in answers
    ]
    features = FORM.encode(QA, rows(QA, *values), tokenizer, 256, False)
    said = [features.sequence(k)[features.by_sequence["prompt"][k] :].tolist() for k in range(3)]
    inputs = FORM.inputs(features, [0, 1, 2], tokenizer, False)
    model = Generates(said, tokenizer.pad_token_id)
    found = FORM.predict(model, inputs, features, [0, 1, 2], QA, tokenizer, {})
    assert [one["prediction"] for one in found] == answers
