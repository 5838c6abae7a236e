"""Special tokens that a text spells are text: one end token per row, offsets whole, ordinary text as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flare_ray import registry
from flare_ray.inputs.tokenizers import LightTokenizer
from flare_ray.plain_text import encode_text

ENCODERS = ("sandbox-xlm-r", "sandbox-mt5")
DECODERS = ("sandbox-llama", "sandbox-gemma2")
MODELS = (*ENCODERS, *DECODERS, "sandbox-nllb")
REAL = ("minilm", "me5-small")
ORDINARY = [
    "te film vas gud.",
    "Hello world",
    "",
    "  lead",
    "a < b > c / s",
    "new\nline\t<b>bold</b>",
    "<",
    "s>",
]
SPELLED = [
    "ein </s> b",
    "</s>",
    "a</s>b <eos>",
    "x <pad> <mask> <s>",
    "[SEP] [CLS] <unk>",
    "<extra_id_3> </s></s>",
]


@pytest.fixture(scope="session")
def load(small_sandbox: Path) -> Callable[[str], Any]:
    loaded: dict[str, Any] = {}

    def find(name: str) -> Any:
        folder = (Path.home() / ".cache/real-models" if name in REAL else small_sandbox / "models") / name
        if not folder.is_dir():
            pytest.skip(f"no {folder}")
        if name not in loaded:
            loaded[name] = registry.load("models", "llama").tokenizer(str(folder))
        return loaded[name]

    return find


def specials(tokenizer: Any, ids: list[int]) -> list[int]:
    return [token for token in ids if token in tokenizer.all_special_ids and token != tokenizer.unk_token_id]


@pytest.mark.parametrize("name", [*MODELS, *REAL])
def test_text_has_no_special_tokens_but_those_of_the_template(load: Callable[[str], Any], name: str) -> None:
    tokenizer = load(name)
    template = specials(tokenizer, tokenizer("a")["input_ids"])
    pair = specials(tokenizer, tokenizer("a", "a")["input_ids"])
    every = [*SPELLED, *tokenizer.all_special_tokens]
    for text, ids in zip(every, encode_text(tokenizer, every)["input_ids"], strict=True):
        assert specials(tokenizer, ids) == template, text
        if text != tokenizer.unk_token:
            assert ids != encode_text(tokenizer, "")["input_ids"]
    for ids in encode_text(tokenizer, every, every)["input_ids"]:
        assert specials(tokenizer, ids) == pair


@pytest.mark.parametrize("name", [*MODELS, *REAL])
def test_ordinary_text_is_encoded_as_before(load: Callable[[str], Any], name: str) -> None:
    tokenizer = load(name)
    for settings in ({}, {"add_special_tokens": False}, {"return_offsets_mapping": True}):
        assert dict(encode_text(tokenizer, ORDINARY, **settings)) == dict(tokenizer(ORDINARY, **settings))
    assert (
        encode_text(tokenizer, ORDINARY, ORDINARY)["input_ids"] == tokenizer(ORDINARY, ORDINARY)["input_ids"]
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_tokenizer_itself_stays_as_it_was(load: Callable[[str], Any], name: str) -> None:
    tokenizer = load(name)
    before, whole = tokenizer(SPELLED)["input_ids"], tokenizer.backend_tokenizer.to_str()
    encode_text(tokenizer, SPELLED)
    with pytest.raises(ValueError, match="text input"):
        encode_text(tokenizer, [None])
    assert tokenizer(SPELLED)["input_ids"] == before
    assert tokenizer.backend_tokenizer.to_str() == whole


@pytest.mark.parametrize("name", MODELS)
def test_offsets_cover_the_characters_of_a_spelled_token(load: Callable[[str], Any], name: str) -> None:
    text = "ein </s> b"
    encoded = encode_text(load(name), text, add_special_tokens=False, return_offsets_mapping=True)
    covered = {place for begin, end in encoded["offset_mapping"] for place in range(begin, end)}
    assert covered >= {place for place, letter in enumerate(text) if letter != " "}
    assert encoded["offset_mapping"] == sorted(encoded["offset_mapping"])


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_the_tokenizer_of_a_plan_reads_the_same(
    load: Callable[[str], Any], small_sandbox: Path, name: str
) -> None:
    light = LightTokenizer(small_sandbox / "models" / name)
    for texts in (ORDINARY, SPELLED):
        assert light(texts)["input_ids"] == encode_text(load(name), texts)["input_ids"]


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_every_row_has_one_end_token(load: Callable[[str], Any], name: str) -> None:
    """mT5's head takes the state of the only end token: a row with another number of them fails the pass."""
    tokenizer, task = load(name), registry.load("tasks", "nusax")
    texts = ["ordinary", "a </s> in it", "</s></s>", "long </s> " * 20]
    rows = [{"id": str(k), "text": text, "label": "neutral"} for k, text in enumerate(texts)]
    form = registry.load("forms", "generation" if name in DECODERS else "classification")
    features = form.encode(task, pa.Table.from_pylist(rows, task.schema()), tokenizer, 48, True)
    ends = [features.sequence(k).tolist().count(tokenizer.eos_token_id) for k in range(len(features))]
    assert ends == [1] * len(texts)
    joined = form.join(features, features, features.row_of, tokenizer, 80)
    once = [joined.sequence(k).tolist().count(tokenizer.eos_token_id) for k in range(len(joined))]
    assert len(set(once)) == 1


@pytest.mark.parametrize("name", ENCODERS)
def test_an_answer_that_spells_a_token_is_found_by_its_span(load: Callable[[str], Any], name: str) -> None:
    tokenizer, task = load(name), registry.load("tasks", "tydiqa")
    context, answer = "w na </s> na w. it be <pad> here.", "</s> na"
    gold = [{"text": answer, "start": context.index(answer)}]
    row = {"id": "1", "context": context, "question": "what </s> be it?", "answers": gold}
    form = registry.load("forms", "span")
    features = form.encode(task, pa.Table.from_pylist([row], task.schema()), tokenizer, 64, True)
    first, last = features.by_sequence["span"][0]
    offsets = features.of_token("offsets", 0)
    assert context[offsets[first][0] : offsets[last][1]] == answer
    assert specials(tokenizer, features.sequence(0).tolist()) == specials(
        tokenizer, tokenizer("a", "a")["input_ids"]
    )
