"""Translation models: their names, what they call languages, and states that depend on the text alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flare_ray import registry
from flare_ray.plan.checkpoints import TRANSLATORS, translator
from flare_ray.sandbox import world
from flare_ray.translation.checkpoints import FLORES, flores
from flare_ray.translation.encoder import TranslationEncoder

TEXTS = ["jonas bringed lamp", "ger film be very long and ger natvar be horrible.", "a"]


@pytest.mark.parametrize("task", ["nusax", "xnli", "tydiqa"])
def test_every_language_of_the_study_has_a_code(task: str) -> None:
    found = registry.load("tasks", task)
    for language in (*found.languages, found.source_language):
        code = flores(language)
        assert len(code) == 8
        assert code[3] == "_"


def test_languages_without_a_code_go_as_indonesian() -> None:
    assert flores("mad") == flores("nij") == flores("ind") == flores("id") == "ind_Latn"
    assert flores("en") == flores("eng") == flores(world.SOURCE) == "eng_Latn"
    others = [code for name, code in FLORES.items() if name not in ("mad", "nij", "id", "ind", "en", "eng")]
    assert len(others) == len(set(others))


def test_a_sandbox_language_has_its_own_code() -> None:
    codes = {flores(language) for language in world.LANGUAGES}
    assert len(codes) == len(world.LANGUAGES)
    assert not codes & set(FLORES.values())


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(KeyError):
        flores("xx")


def test_a_known_translator_is_a_checkpoint_and_any_other_name_itself() -> None:
    assert translator("nllb-200-distilled-600m") == "facebook/nllb-200-distilled-600M"
    assert translator("nllb-200-3.3b") == "facebook/nllb-200-3.3B"
    assert translator("./mine") == "./mine"
    assert translator("org/name@abc") == "org/name@abc"
    assert set(world.TRANSLATORS) <= set(TRANSLATORS)


@pytest.fixture(scope="module")
def encoder(small_sandbox: Path) -> TranslationEncoder:
    return TranslationEncoder(str(small_sandbox / "models" / "sandbox-nllb"), torch.float32, "cpu")


def test_states_are_those_of_a_direct_call(encoder: TranslationEncoder) -> None:
    for text, states in zip(TEXTS, encoder.states(TEXTS, "qal", 64), strict=True):
        encoder.tokenizer.src_lang = "qal_Latn"
        inputs = encoder.tokenizer(text, return_tensors="pt")
        ids = inputs["input_ids"][0].tolist()
        assert ids[0] == encoder.tokenizer.convert_tokens_to_ids("qal_Latn")
        assert ids[-1] == encoder.tokenizer.eos_token_id
        assert states.shape == (len(ids), encoder.width)
        with torch.no_grad():
            direct = encoder.encoder(**inputs).last_hidden_state[0]
        torch.testing.assert_close(states, direct, atol=1e-5, rtol=1e-5)


def test_neighbours_in_a_batch_change_nothing(encoder: TranslationEncoder) -> None:
    together = encoder.states(TEXTS, "qtu", 64)
    for text, states in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(encoder.states([text], "qtu", 64)[0], states, atol=1e-5, rtol=1e-5)


def test_the_language_is_told_and_long_texts_are_cut(encoder: TranslationEncoder) -> None:
    one, other = (encoder.states(TEXTS[:1], language, 64)[0] for language in ("qal", "qko"))
    assert one.shape == other.shape
    assert not torch.allclose(one, other)
    again = encoder.states(TEXTS[:1], "qal", 64)[0]
    assert torch.equal(one, again)
    cut = encoder.states([TEXTS[1] * 20, "a"], "qal", 16)
    assert cut[0].shape[0] == 16
    assert cut[1].shape[0] < 16


def test_nothing_of_it_is_trained_or_kept_in_a_graph(encoder: TranslationEncoder) -> None:
    assert not any(parameter.requires_grad for parameter in encoder.encoder.parameters())
    assert not encoder.encoder.training
    assert not encoder.states(TEXTS, "qal", 64)[0].requires_grad
