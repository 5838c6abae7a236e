"""Omissions, inventions, loops of marks and other scripts are found; ordinary translations have no flag."""

from __future__ import annotations

import pytest

from flare_ray.translation.suspicions import LengthRatio, suspicions

SIX = (
    "The room was clean. The staff were kind. Breakfast was late. The pool was closed. "
    "We complained twice. Nobody came."
)
SWAHILI = (
    "Chumba kilikuwa safi. Wafanyakazi walikuwa wema. Kifungua kinywa kilichelewa. Bwawa lilifungwa. "
    "Tulilalamika mara mbili. Hakuna aliyekuja."
)
CHINESE = "房间很干净。工作人员很友善。早餐来晚了。游泳池关闭了。我们投诉了两次。没有人来。"
RUSSIAN = "Комната была чистой. Персонал был добрым. Завтрак опоздал. Бассейн был закрыт. Никто не пришёл."


def flags(text: str, translation: str, source: str = "en", target: str = "sw") -> list[str]:
    return suspicions(text, translation, LengthRatio.of([], source, target))


def test_five_of_six_sentences_gone() -> None:
    assert flags(SIX, "Chumba kilikuwa safi.") == ["short", "sentences"]
    assert flags(SIX, "房间很干净。", target="zh") == ["short", "sentences"]
    assert flags(CHINESE, "The room was clean.", "zh", "en") == ["short", "sentences"]
    assert "sentences" in flags(SIX, SWAHILI[: SWAHILI.index(" Kifungua")])


def test_an_invention() -> None:
    assert flags("Ok.", SWAHILI) == ["long"]
    assert flags("Ok.", CHINESE, target="zh") == ["long"]
    assert flags("Ok.", "Sawa, asante sana.") == []


@pytest.mark.parametrize(
    "loop", [", " * 30, "," * 40, "Chumba, , , , , , , , , , , , , , , , , ,", ".,.,.,.,.,.,.,.,"]
)
def test_a_loop_of_marks_is_a_repetition(loop: str) -> None:
    assert "repetition" in flags(SIX, loop)
    assert "repetition" not in flags(loop, loop)


@pytest.mark.parametrize("loop", [", " * 7, ",,,,,", "، " * 5, "、、、、、、"])
def test_few_marks_are_a_loop_where_nothing_else_is_written(loop: str) -> None:
    assert "repetition" in flags("Ok.", loop)
    assert flags("...", loop) == []
    assert "repetition" in flags(SIX, f"{SWAHILI} , , , , , , ,")
    assert flags("Wait ......", "Ngoja ......") == flags("Yes!!", "Ndiyo!!!!!!!!") == []


@pytest.mark.parametrize("marks", [",", "...", "?"])
def test_a_translation_without_a_word_is_short(marks: str) -> None:
    assert flags("Good morning to all of you", marks) == ["short"]
    assert flags("2024", "2024.") == flags("!!!", marks) == []


@pytest.mark.parametrize(
    ("translation", "target"),
    [(RUSSIAN, "sw"), (SIX, "ru"), (CHINESE, "ko"), (CHINESE, "ja"), ("привет всем", "eng")],
)
def test_another_script_than_the_language_s(translation: str, target: str) -> None:
    assert "script" in flags(SIX if translation != SIX else SWAHILI, translation, target=target)


@pytest.mark.parametrize(
    ("translation", "target"),
    [(SWAHILI, "sw"), (CHINESE, "zh"), (RUSSIAN, "ru"), (SWAHILI, "xx")],
)
def test_an_ordinary_translation_has_no_flag(translation: str, target: str) -> None:
    assert flags(SIX, translation, target=target) == []
    assert flags(translation, SIX, target, "en") == []


def test_names_of_the_original_and_signs_of_no_script_may_stay() -> None:
    assert flags("WHO COVID-19 iPhone", "WHO COVID-19 iPhone", target="ar") == []
    assert flags("12:30", "12:30 — 🙂", target="ar") == []


def test_sentences_that_are_joined_are_all_there() -> None:
    assert flags(SIX, SWAHILI.replace(". ", ", ")) == []


def test_lengths_are_compared_with_the_pair_s_own() -> None:
    wordy = [(f"{number} {SIX}", f"{number} {SWAHILI} {SWAHILI[:30]}") for number in range(100)]
    expected = LengthRatio.of(wordy, "en", "sw")
    assert expected.pairs == 100
    assert expected.ratio == pytest.approx(1.5, abs=0.1)
    assert not any(suspicions(*pair, expected) for pair in wordy)


def test_a_translator_that_omits_as_a_rule_is_not_its_own_measure() -> None:
    omitted = [(f"{number} {SIX}", f"{number} Chumba kilikuwa safi.") for number in range(100)]
    expected = LengthRatio.of(omitted, "en", "sw")
    assert (expected.ratio, expected.pairs) == (1.0, 0)
    assert all("short" in suspicions(*pair, expected) for pair in omitted)
