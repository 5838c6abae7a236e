"""Source and target in one input: the target stays whole and last, the source gives way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flare_ray import registry
from flare_ray.forms.base import _special

XNLI = registry.load("tasks", "xnli")
NUSAX = registry.load("tasks", "nusax")
QA = registry.load("tasks", "tydiqa")
CLASSIFICATION, SPAN, GENERATION = (
    registry.load("forms", name) for name in ("classification", "span", "generation")
)
HEADS = ["sandbox-xlm-r", "sandbox-mt5", "me5-small", "minilm"]
DECODERS = ["sandbox-llama", "sandbox-gemma2"]


def pairs(*rows: tuple[str, str]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": str(k), "premise": p, "hypothesis": h, "label": "neutral"} for k, (p, h) in enumerate(rows)],
        XNLI.schema(),
    )


def texts(*rows: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": str(k), "text": text, "label": "negative"} for k, text in enumerate(rows)], NUSAX.schema()
    )


TARGETS = [("na w k", "w"), ("w " * 9, "na " * 9), ("k", "k")]
SOURCES = [("it be", "gud"), ("a film it " * 20, "bad " * 30), ("x", "y")]


def count(tokens: np.ndarray, special: set[int]) -> int:
    return int(np.isin(tokens, list(special)).sum())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("limit", [48, 64, 512])
def test_a_joined_pair_keeps_the_target_and_cuts_the_source_only_as_needed(
    tokenizer_of: Callable[[str], Any], name: str, limit: int
) -> None:
    tokenizer = tokenizer_of(name)
    target, source = (
        CLASSIFICATION.encode(XNLI, pairs(*rows), tokenizer, 200, True) for rows in (TARGETS, SOURCES)
    )
    joined = CLASSIFICATION.join(target, source, np.arange(3), tokenizer, limit)
    special = _special(tokenizer)
    glue = CLASSIFICATION.glue(tokenizer)
    starts = tokenizer("a")["input_ids"][0] in special
    for k in range(3):
        own, whole, found = target.sequence(k), source.sequence(k), joined.sequence(k)
        full = len(own) + len(whole) - 1 + len(glue) - starts
        assert len(found) == min(limit, full)
        tail = own[int(starts) :]
        assert found[-len(tail) :].tolist() == tail.tolist()
        assert found[-len(tail) - len(glue) : -len(tail)].tolist() == glue
        if full <= limit:
            assert found[: len(whole) - 1].tolist() == whole[:-1].tolist()
    assert joined.counts["source_cut"] == (limit < 512)
    assert len({count(joined.sequence(k), special) for k in range(3)}) == 1
    assert np.array_equal(joined.by_sequence["labels"], target.by_sequence["labels"])


@pytest.mark.parametrize("name", HEADS)
def test_two_joined_texts_are_the_tokenizers_own_pair(tokenizer_of: Callable[[str], Any], name: str) -> None:
    tokenizer = tokenizer_of(name)
    target, source = (
        CLASSIFICATION.encode(NUSAX, texts(text), tokenizer, 64, True) for text in ("na w k", "it be gud")
    )
    joined = CLASSIFICATION.join(target, source, np.array([0]), tokenizer, 128)
    assert joined.sequence(0).tolist() == tokenizer("it be gud", "na w k")["input_ids"]


@pytest.mark.parametrize("name", HEADS)
def test_without_a_source_or_with_a_short_one_the_template_stays(
    tokenizer_of: Callable[[str], Any], name: str
) -> None:
    tokenizer = tokenizer_of(name)
    target = CLASSIFICATION.encode(XNLI, pairs(*TARGETS), tokenizer, 64, True)
    source = CLASSIFICATION.encode(XNLI, pairs(("x", "y")), tokenizer, 64, True)
    joined = CLASSIFICATION.join(target, source, np.array([-1, 0, -1]), tokenizer, 128)
    special = _special(tokenizer)
    assert len({count(joined.sequence(k), special) for k in range(3)}) == 1
    assert joined.sequence(0)[0] == joined.sequence(1)[0] or name == "sandbox-mt5"
    for k in (0, 2):
        assert count(joined.sequence(k), special) + sum(
            token not in special for token in target.sequence(k).tolist()
        ) == len(joined.sequence(k))


@pytest.mark.parametrize("name", HEADS)
def test_a_target_that_leaves_no_room_stands_alone(tokenizer_of: Callable[[str], Any], name: str) -> None:
    """XLM-R reads 512 tokens, all of which a window may take: one more would have no position."""
    tokenizer = tokenizer_of(name)
    target = CLASSIFICATION.encode(NUSAX, texts("na w " * 60, "na"), tokenizer, 32, True)
    source = CLASSIFICATION.encode(NUSAX, texts("it be", "gud"), tokenizer, 32, True)
    for limit in range(32, 40):
        joined = CLASSIFICATION.join(target, source, np.arange(2), tokenizer, limit)
        assert joined.lengths.max() <= limit
    joined = CLASSIFICATION.join(target, source, np.arange(2), tokenizer, 32)
    assert joined.sequence(0).tolist() == target.sequence(0).tolist()
    assert joined.counts["source_cut"] == 1


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("limit", [40, 64, 96])
def test_spans_move_with_the_tokens_and_cut_out_the_same_text(
    tokenizer_of: Callable[[str], Any], questions: Callable[..., pa.Table], name: str, limit: int
) -> None:
    tokenizer = tokenizer_of(name)
    context = " ".join(f"w{k} na" for k in range(12))
    english = " ".join(f"e{k} be" for k in range(12))
    target = SPAN.encode(
        QA, questions(*((context, "who na?", f"w{k}", 0) for k in (0, 5, 11))), tokenizer, 32, True
    )
    source = SPAN.encode(QA, questions((english, "who be?", "e3", 0)), tokenizer, 32, True)
    draw = np.random.default_rng(1)
    joined = SPAN.join(target, source, draw.integers(0, len(source), len(target)), tokenizer, limit)
    assert joined.lengths.max() <= limit
    assert np.array_equal(joined.row_of, target.row_of)
    for k in range(len(target)):
        own, moved = target.by_sequence["span"][k], joined.by_sequence["span"][k]
        if not own.any():
            assert not moved.any()
            continue
        for before, after in zip(own, moved, strict=True):
            assert target.sequence(k)[before] == joined.sequence(k)[after]
            assert (
                target.of_token("offsets", k)[before].tolist()
                == joined.of_token("offsets", k)[after].tolist()
            )
        inside = joined.of_token("offsets", k)
        assert (inside[:, 0] >= 0).sum() == (target.of_token("offsets", k)[:, 0] >= 0).sum()
        assert len(inside) == joined.lengths[k]


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("limit", [40, 64, 256])
def test_prompts_are_joined_by_a_line_break_and_answers_stay(
    tokenizer_of: Callable[[str], Any], name: str, limit: int
) -> None:
    tokenizer = tokenizer_of(name)
    target = GENERATION.encode(NUSAX, texts("na w k", "w"), tokenizer, 32, True)
    source = GENERATION.encode(NUSAX, texts("it be gud", "bad film " * 40), tokenizer, 32, True)
    joined = GENERATION.join(target, source, np.array([0, 1]), tokenizer, limit)
    assert joined.lengths.max() <= limit
    for k in range(2):
        size, own = joined.by_sequence["prompt"][k], target.by_sequence["prompt"][k]
        assert joined.sequence(k)[size:].tolist() == target.sequence(k)[own:].tolist()
        assert joined.sequence(k).tolist().count(tokenizer.bos_token_id) == 1
        assert joined.sequence(k)[size - own + 1 : size].tolist() == target.sequence(k)[1:own].tolist()
        assert np.array_equal(GENERATION.items(joined), GENERATION.items(target))
    if limit == 256:
        prompt = tokenizer.decode(GENERATION.read(joined, 0, False), skip_special_tokens=True)
        assert [line.strip() for line in prompt.splitlines()] == [
            "it be gud",
            "Sentiment:",
            "na w k",
            "Sentiment:",
        ]
        assert "negative" not in prompt
