"""Backends give the model's own translations, whatever stands beside a text in its batch, and say what went wrong."""

from __future__ import annotations

import json
import logging
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_ray.errors import InputError
from flare_ray.translation.backends import codes, greedy
from flare_ray.translation.backends.base import BACKENDS, Backend, Decoding, Translated, load

TEXTS = [
    "jonas bought the lamp.",
    "",
    "the film was very long and the food was horrible, and we did not like the red house in the city.",
    "a",
    " \n",
    'she said: "what <s> is </s> this eng_Latn <pad>?" 😂',
]

SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "init_std": 0.5,
    "scale_embedding": True,
}


@pytest.fixture(scope="module")
def checkpoint(small_sandbox: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An NLLB of large random weights: its translations depend on every word and language, some end, some do not."""
    from transformers import AutoConfig, AutoTokenizer, M2M100ForConditionalGeneration

    sandbox, folder = small_sandbox / "models" / "sandbox-nllb", tmp_path_factory.mktemp("random")
    config = AutoConfig.from_pretrained(sandbox, init_std=0.5, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = M2M100ForConditionalGeneration(config)
    model.lm_head.weight.data[config.eos_token_id] *= 8
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(sandbox).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(
    checkpoint: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Backend:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLARE_RAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load(request.param, checkpoint, Decoding(max_length=24, precision="fp32"))


def by_hand(checkpoint: str, text: str, source: str, target: str, most: int) -> list[int]:
    """Greedy decoding without `generate`, without a cache and without padding."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, src_lang=source)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
    ids = tokenizer(text, split_special_tokens=True, return_tensors="pt").input_ids
    made = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(target)]
    while len(made) < most + 2 and (len(made) == 2 or made[-1] != tokenizer.eos_token_id):
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([made])).logits
        made.append(int(logits[0, -1].argmax()))
    return made[2:]


def test_translations_are_the_models_own(backend: Backend, checkpoint: str) -> None:
    for text in (TEXTS[0], TEXTS[2], TEXTS[5]):
        ids = by_hand(checkpoint, text, "eng_Latn", "qtu_Latn", 24)
        wanted = Translated(
            backend.tokenizer.decode(ids, skip_special_tokens=True),
            len(ids),
            ids[-1] != backend.tokenizer.eos_token_id,
        )
        assert backend.translate([text], "eng", "qtu") == [wanted]


def test_neighbours_in_a_batch_change_nothing(backend: Backend) -> None:
    together = backend.translate(TEXTS, "eng", "qal")
    assert together == [backend.translate([text], "eng", "qal")[0] for text in TEXTS]
    assert together[::-1] == backend.translate(TEXTS[::-1], "eng", "qal")
    assert backend.translate([], "eng", "qal") == []


def test_a_blank_text_is_its_own_translation(backend: Backend) -> None:
    found = backend.translate(TEXTS, "eng", "qal")
    assert [found[1], found[4]] == [Translated("", 0, False), Translated(" \n", 0, False)]


def test_lengths_are_those_of_the_input_and_special_tokens_in_a_text_are_text(backend: Backend) -> None:
    lengths = backend.lengths(TEXTS, "eng")
    assert lengths[1] == 2  # language code and end
    assert lengths[3] == 3
    backend.tokenizer.src_lang = "eng_Latn"
    assert lengths[0] == len(backend.tokenizer(TEXTS[0]).input_ids)
    ids = backend._encoded([TEXTS[5]], "eng")[0]
    special = set(backend.tokenizer.all_special_ids) - {backend.tokenizer.unk_token_id}
    assert not set(ids[1:-1]) & special
    assert ids[0] == backend.tokenizer.convert_tokens_to_ids("eng_Latn")


def test_the_languages_are_told_by_either_code(backend: Backend) -> None:
    one = backend.translate(TEXTS[:1], "eng", "qko")
    assert backend.translate(TEXTS[:1], "eng_Latn", "qko_Latn") == one
    assert backend.translate(TEXTS[:1], "eng", "qtu") != one
    for wrong in (("eng", "qkx_Latn"), ("qkx_Latn", "eng"), ("eng", "sw")):
        with pytest.raises(InputError, match="qko_Latn"):
            backend.translate(TEXTS[:1], *wrong)


def test_what_is_too_long_is_said(backend: Backend, checkpoint: str) -> None:
    made = [one for code in ("qal", "qtu", "qko") for one in backend.translate(TEXTS, "eng", code)]
    assert {one.truncated for one in made} == {True, False}
    assert all(one.tokens == 24 for one in made if one.truncated)
    assert min(one.tokens for one in made if one.text.strip()) < 24
    with pytest.raises(ValueError, match=str(backend.limit)):
        backend.translate(["a " * 600], "eng", "qal")
    with pytest.raises(InputError, match="max_length"):
        load("transformers", checkpoint, Decoding(max_length=511))
    backend.max_length, kept = 3, backend.max_length
    short = backend.translate(TEXTS[2:3], "eng", "qtu")[0]
    backend.max_length = kept
    assert (short.tokens, short.truncated) == (3, True)


@pytest.mark.parametrize("target", ["qal", "qtu", "eng"])
@pytest.mark.parametrize("beams", [1, 3])
def test_backends_agree(checkpoint: str, target: str, beams: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path))
    decoding = Decoding(beams=beams, max_length=16, precision="fp32")
    one, other = (load(name, checkpoint, decoding).translate(TEXTS, "eng", target) for name in BACKENDS)
    assert one == other


def test_what_a_checkpoint_says_of_generation_is_nothing_to_us(
    checkpoint: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    surprises = {
        "max_length": 4,
        "do_sample": True,
        "temperature": 9.0,
        "num_beams": 3,
        "forced_eos_token_id": 5,
        "no_repeat_ngram_size": 1,
        "decoder_start_token_id": 7,
        "bad_words_ids": [[40]],
    }
    (copy / "generation_config.json").write_text(json.dumps(surprises))
    decoding = Decoding(max_length=16)
    plain, other = (load("transformers", place, decoding) for place in (checkpoint, str(copy)))
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)  # to where caplog listens
    caplog.clear()
    recwarn.clear()
    assert plain.translate(TEXTS, "eng", "qdo") == other.translate(TEXTS, "eng", "qdo")
    assert not caplog.records
    assert not recwarn.list


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError]
) -> None:
    backend = load("transformers", checkpoint, Decoding(max_length=8))
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS)]
    wanted = backend.translate(texts, "eng", "qal")
    whole, tried = backend.generate, []

    def generate(rows: list[list[int]], first: str | None) -> list[list[int]]:
        tried.append(len(rows))
        if len(rows) > 2:
            raise error("CUDA out of memory")
        return whole(rows, first)

    monkeypatch.setattr(backend, "generate", generate)
    assert backend.translate(texts, "eng", "qal") == wanted
    assert tried == [6, 3, 2, 1, 3, 2, 1]

    def never(rows: Sequence[list[int]], first: str | None) -> list[list[int]]:
        raise error("CUDA out of memory")

    monkeypatch.setattr(backend, "generate", never)
    with pytest.raises(error, match="out of memory"):
        backend.translate(texts, "eng", "qal")


def test_another_error_is_not_taken_for_memory(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("transformers", checkpoint, Decoding(max_length=8))
    tried = []

    def generate(rows: list[list[int]], first: str | None) -> list[list[int]]:
        tried.append(len(rows))
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(backend, "generate", generate)
    with pytest.raises(RuntimeError, match="shapes"):
        backend.translate(TEXTS, "eng", "qal")
    assert tried == [4]


def test_a_checkpoint_is_converted_once_and_whole_or_not_at_all(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flare_ray.translation.backends import ctranslate2 as subject

    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path))
    convert, calls = subject._convert, []

    def broken(checkpoint: str, stored: str, folder: Path) -> None:
        (folder / "model.bin").write_text("half")
        raise KeyboardInterrupt

    def counted(checkpoint: str, stored: str, folder: Path) -> None:
        calls.append(stored)
        convert(checkpoint, stored, folder)

    monkeypatch.setattr(subject, "_convert", broken)
    with pytest.raises(KeyboardInterrupt):
        subject.converted(checkpoint, "int8")
    assert not [path for path in (tmp_path / "ct2").iterdir() if path.is_dir()]

    monkeypatch.setattr(subject, "_convert", counted)
    copy = tmp_path / "elsewhere"
    shutil.copytree(checkpoint, copy)
    places = [subject.converted(*one) for one in ((checkpoint, "int8"), (str(copy), "int8"))]
    assert places[0] == places[1]
    assert subject.converted(checkpoint, "float32") != places[0]
    assert calls == ["int8", "float32"]

    for backend in (
        load("ctranslate2", checkpoint),
        load("ctranslate2", checkpoint, Decoding(precision="int8")),
    ):
        assert all(made.text for made in backend.translate(TEXTS[2:4], "eng", "qal"))
    assert calls == ["int8", "float32"]


def test_a_missing_extra_and_an_unknown_backend_are_said(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "flare_ray.translation.backends.ctranslate2", raising=False)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(InputError, match=r"flare-ray\[ct2\]"):
        load("ctranslate2", checkpoint)
    with pytest.raises(InputError, match="'ctranslate2' \\(the nearest\\)"):
        load("ctranslate", checkpoint)
    with pytest.raises(InputError, match="precision"):
        load("transformers", checkpoint, Decoding(precision="int8"))


def tokenizer_of(kind: str, tokens: Sequence[str]) -> Any:
    """All that `codes_of` sees of a tokenizer: its class's name and its vocabulary."""
    return type(kind, (), {"get_vocab": lambda self: {token: n for n, token in enumerate(tokens)}})()


@pytest.mark.parametrize(
    ("kind", "tokens", "style", "language", "code"),
    [
        ("NllbTokenizer", ["</s>", "swh_Latn", "jav_Latn"], "nllb", "sw", "swh_Latn"),
        ("NllbTokenizerFast", ["</s>", "swh_Latn", "jav_Latn"], "nllb", "jav_Latn", "jav_Latn"),
        ("NllbTokenizer", ["ind_Latn", "sun_Latn"], "nllb", "mad", "ind_Latn"),
        ("M2M100Tokenizer", ["__sw__", "__jv__", "__id__"], "m2m100", "jav", "jv"),
        ("M2M100Tokenizer", ["__sw__", "__jv__", "__id__"], "m2m100", "nij", "id"),
        ("M2M100Tokenizer", ["__en__", "__zh__"], "m2m100", "eng", "en"),
        ("MarianTokenizer", [">>ind<<", ">>swh<<", "sw"], "marian", "sw", "swh"),
        ("MarianTokenizer", [">>id<<", ">>zho_Hans<<"], "marian", "zh", "zho_Hans"),
    ],
)
def test_each_kind_of_checkpoint_has_its_own_codes(
    kind: str, tokens: list[str], style: str, language: str, code: str
) -> None:
    found = codes.codes_of(tokenizer_of(kind, tokens))
    assert (found.style, found.code(language)) == (style, code)
    assert found.tokens[code] in tokens


def test_a_model_of_one_pair_is_told_nothing_and_a_long_list_is_not_printed() -> None:
    assert codes.codes_of(tokenizer_of("MarianTokenizer", ["</s>", "a"])).style == "none"
    many = [f"a{a}{b}_Latn" for a in "abcdefghij" for b in "abcdefghij"]
    with pytest.raises(InputError, match=r"100 codes like aaa_Latn.*nearest: abc_Latn") as caught:
        codes.codes_of(tokenizer_of("NllbTokenizer", many)).code("abc_latn")
    assert len(str(caught.value)) < 300


def a_model(kind: str) -> Any:
    """Random weights. M2M100 may predict padding, and Marian, whose start token it is, would prefer to."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel

    torch.manual_seed(1)
    if kind == "m2m100":
        return M2M100ForConditionalGeneration(M2M100Config(**SHAPE, tie_word_embeddings=False)).eval()
    ids: dict[str, Any] = {
        "pad_token_id": 39,
        "decoder_start_token_id": 39,
        "eos_token_id": 0,
        "forced_eos_token_id": None,
    }
    model = MarianMTModel(MarianConfig(**SHAPE, **ids))
    model.lm_head.weight = torch.nn.Parameter(torch.randn(40, 32))  # else it repeats what it reads
    model.final_logits_bias[0, 0] += 6
    model.final_logits_bias[0, 39] += 30
    return model.eval()


@pytest.mark.parametrize("kind", ["m2m100", "marian"])
@pytest.mark.parametrize("first", [[], [7]])
def test_the_greedy_loop_gives_what_generate_gives(kind: str, first: list[int]) -> None:
    """Whatever ends when, in batches of any make-up, with any limit."""
    from transformers import GenerationConfig

    model = a_model(kind)
    start, end, pad = (getattr(model.config, f"{x}_token_id") for x in ("decoder_start", "eos", "pad"))
    never = pad if start == pad else None
    draw = random.Random(3)
    rows = [[draw.randrange(3, 39) for _ in range(draw.randint(1, 20))] for _ in range(60)]

    def both(chosen: list[list[int]], most: int) -> list[list[int]]:
        longest = max(map(len, chosen))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in chosen])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in chosen])
        settings = GenerationConfig(
            max_new_tokens=most + len(first),
            decoder_start_token_id=start,
            eos_token_id=end,
            pad_token_id=pad,
            forced_bos_token_id=first[0] if first else None,
            suppress_tokens=None if never is None else [never],
        )
        made = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        wanted = [greedy.until(one, end) for one in made[:, 1 + len(first) :].tolist()]
        assert greedy.greedy(model, ids, mask, [start, *first], end, most, never) == wanted
        return wanted

    whole = both(rows, 50)
    lengths = [len(one) for one in whole]
    cut = [one[-1] != end for one in whole]
    assert (min(lengths) <= 3, any(cut), all(cut), len(set(lengths)) > 3) == (True, True, False, True)
    if kind == "m2m100":
        assert any(pad in one for one in whole), "padding within a translation"
    assert both(rows[::-1], 50) == whole[::-1]
    extremes = [pick(range(60), key=lengths.__getitem__) for pick in (min, max)]
    assert both([rows[index] for index in extremes], 50) == [whole[index] for index in extremes]
    for row in rows[:5]:
        both([row], 50)
    for most in (1, 2, 5):
        assert both(rows, most) == [one[:most] for one in whole]


def test_rows_that_have_ended_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model("m2m100")
    draw = random.Random(3)
    ids = torch.tensor([[draw.randrange(3, 39) for _ in range(6)] for _ in range(40)])
    passed: list[int] = []
    whole = model.forward

    def forward(**inputs: Any) -> Any:
        passed.append(len(inputs["decoder_input_ids"]))
        return whole(**inputs)

    monkeypatch.setattr(model, "forward", forward)
    lengths = [len(one) for one in greedy.greedy(model, ids, torch.ones_like(ids), [2], 2, 30)]
    going = [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert len(passed) == len(going)
    assert all(now >= needed >= greedy.KEPT * now for now, needed in zip(passed, going, strict=True))
    assert passed[-1] < passed[0] == 40
