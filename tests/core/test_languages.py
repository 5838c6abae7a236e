"""Languages are found by every name and code that they are known by."""

from __future__ import annotations

import pytest

from flare_ray.core.languages import FLORES, NLLB, code_of, english_name, names_of
from flare_ray.sandbox import world
from flare_ray.translation.checkpoints import FLORES as STUDY


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("banjarese", "bjn_Latn"),
        ("bjn", "bjn_Latn"),
        ("bjn_Latn", "bjn_Latn"),
        ("BJN_latn", "bjn_Latn"),
        ("bjn_Arab", "bjn_Arab"),
        ("swh", "swh_Latn"),
        ("sw", "swh_Latn"),
        ("Swahili", "swh_Latn"),
        ("zh", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("madurese", "mad"),
        ("xyz_Latn", None),
        ("eng_Cyrl", None),
    ],
)
def test_a_language_has_one_code(name: str, code: str | None) -> None:
    assert code_of(name) == code


def test_names_of_a_language_are_the_same_whichever_is_given() -> None:
    expected = {"bjn", "banjar", "banjarese", "bjn_latn", "banjar (latin script)"}
    assert all(set(names_of(name)) == expected for name in expected)
    assert names_of("klingon") == ("klingon",)
    assert english_name("nij") == "Ngaju"


def test_the_list_is_complete_and_nllbs_is_its_tokenizers() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert len(FLORES) == 204
    assert set(FAIRSEQ_LANGUAGE_CODES) == NLLB


def test_the_study_s_codes_exist_and_no_name_is_one_of_the_sandbox() -> None:
    substituted = {"mad", "nij"}
    assert {name: code_of(name) for name in STUDY if name not in substituted} == {
        name: code for name, code in STUDY.items() if name not in substituted
    }
    assert not any(code_of(code) for code in world.LANGUAGES)
