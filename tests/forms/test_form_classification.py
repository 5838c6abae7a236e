"""Texts and pairs of texts for a classification head."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch

from flare_ray import registry
from flare_ray.forms.classification import FORM

XNLI = registry.load("tasks", "xnli")
NUSAX = registry.load("tasks", "nusax")
TOKENIZERS = ["sandbox-xlm-r", "sandbox-mt5", "me5-small", "minilm"]


def table(task: Any, *rows: tuple[str, ...]) -> pa.Table:
    names = ("id", *task.text_columns, "label")
    return pa.Table.from_pylist(
        [dict(zip(names, (str(k), *row), strict=True)) for k, row in enumerate(rows)], task.schema()
    )


@pytest.mark.parametrize("name", TOKENIZERS)
def test_what_does_not_fit_is_cut_and_counted(tokenizer_of: Callable[[str], Any], name: str) -> None:
    tokenizer = tokenizer_of(name)
    exact = tokenizer("w na " * 3)["input_ids"]
    long, fits = ("w na " * 40, "neutral"), ("w na " * 3, "positive")
    features = FORM.encode(NUSAX, table(NUSAX, long, fits, long), tokenizer, len(exact), True)
    assert features.counts == {"truncated": 2}
    assert features.lengths.tolist() == [len(exact)] * 3
    assert features.sequence(1).tolist() == exact
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    marks = [[token for token in features.sequence(k).tolist() if token in specials] for k in range(3)]
    assert marks[0] == marks[1] == marks[2]
    assert features.by_sequence["labels"].tolist() == [
        NUSAX.labels.index(label) for label in ("neutral", "positive", "neutral")
    ]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_pair_is_the_tokenizers_own_and_the_longer_text_is_cut(
    tokenizer_of: Callable[[str], Any], name: str
) -> None:
    tokenizer = tokenizer_of(name)
    rows = [
        ("w na", "na w", "neutral"),
        ("w na " * 50, "na w", "entailment"),
        ("w na", "na w " * 50, "contradiction"),
    ]
    features = FORM.encode(XNLI, table(XNLI, *rows), tokenizer, 32, True)
    assert features.counts == {"truncated": 2}
    assert features.sequence(0).tolist() == tokenizer("w na", "na w")["input_ids"]
    short = tokenizer("na w", add_special_tokens=False)["input_ids"]
    assert features.lengths[1] == features.lengths[2] == 32
    text = ",".join(map(str, features.sequence(1).tolist()))
    assert ",".join(map(str, short)) in text
    for k in range(3):
        assert features.by_sequence["labels"][k] == XNLI.labels.index(rows[k][2])


def test_the_highest_logit_names_the_label(tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of("sandbox-xlm-r")
    features = FORM.encode(
        NUSAX, table(NUSAX, ("a", "neutral"), ("b na w", "negative")), tokenizer, 32, False
    )
    inputs = FORM.inputs(features, [1, 0], tokenizer, False)
    assert "labels" not in inputs
    assert inputs["attention_mask"].sum(1).tolist() == features.lengths[[1, 0]].tolist()
    logits = torch.tensor([[0.0, 1.0, 2.0], [5.0, 1.0, 2.0]], dtype=torch.bfloat16)
    model = lambda **_: SimpleNamespace(logits=logits)  # noqa: E731
    found = FORM.predict(model, inputs, features, [1, 0], NUSAX, tokenizer, {})
    assert [one["prediction"] for one in found] == [NUSAX.labels[2], NUSAX.labels[0]]
    assert found[0]["logits"] == [0.0, 1.0, 2.0]


def test_training_hands_over_each_sequences_own_label(tokenizer_of: Callable[[str], Any]) -> None:
    tokenizer = tokenizer_of("sandbox-mt5")
    rows = [("a", "neutral"), ("b na w", "negative"), ("c", "positive")]
    features = FORM.encode(NUSAX, table(NUSAX, *rows), tokenizer, 32, True)
    inputs = FORM.inputs(features, [2, 0], tokenizer, True)
    assert inputs["labels"].tolist() == [NUSAX.labels.index("positive"), NUSAX.labels.index("neutral")]
