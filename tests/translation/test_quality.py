"""What is wrong with a translation is found, and nothing is wrong with ordinary text of any language."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from flare_ray.translation.quality import QUALITY_FLAGS, bleu, chrf, compare, flags, worst

SOURCE = "The children of this village like to play football together every afternoon."
ORDINARY = [
    "Anak-anak di desa ini suka bermain-main bola bersama-sama setiap sore hari.",
    "ha ha ha ha ha! Lucu banget, hahahaha",
    "Alon-alon asal kelakon, mlaku-mlaku karo kanca-kanca nang dalan-dalan cilik.",
    "เด็กๆ เล่นฟุตบอลด้วยกันทุกบ่าย ดีดีดี มากๆ เลย 5555555555555555555555555555555555555555555555",
    "这个村子里的孩子们每天下午都喜欢一起踢足球，高高兴兴，快快乐乐。",
    "يحب أطفال هذه القرية لعب كرة القدم معا كل ظهيرة.",
    "It was very, very, very, very, very good!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
    "Name .......................................................................................",
    "nooooooooooooooo",
    "😂" * 60,
]
DEGENERATE = [
    "Anak anak " + "bermain bola " * 20,
    "ger hus" + "nus" * 30 + ".",
    "这个" + "孩子们踢足球，" * 12,
    "เด็ก" + "เล่นฟุตบอล" * 10,
    "I like it. " + "I am not sure if this is the right place for it, but I am not sure. " * 5 + "I am not",
    "the dog and the cat or the dog and the bird " * 9 + "end",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_not_degenerate(text: str) -> None:
    assert flags(SOURCE, text) == []


@pytest.mark.parametrize("text", DEGENERATE)
def test_loops_are_found_unless_the_source_has_one_too(text: str) -> None:
    assert flags(SOURCE, text) == ["repetition"]
    assert flags(SOURCE, text, truncated=True) == ["repetition", "truncated"]
    assert "repetition" not in flags("la la la la " * 12, text)


def test_random_words_are_ordinary_however_long() -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 8))) for _ in range(200)]
    for length in (1, 20, 200, 2000):
        assert flags(SOURCE, " ".join(draw.choices(words, k=length))) == []


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_empty_is_blank_where_the_text_is_not(blank: str) -> None:
    assert flags(SOURCE, blank) == ["empty"]
    assert flags("  ", blank) == []


@pytest.mark.parametrize(
    "text",
    [
        SOURCE,
        "THE CHILDREN OF THIS VILLAGE PLAY FOOTBALL",
        "这个村子里的孩子们每天下午都喜欢一起踢足球。",
        "เด็กๆ เล่นฟุตบอลด้วยกันทุกบ่าย",
    ],
)
def test_prose_that_stays_is_a_copy(text: str) -> None:
    assert flags(text, text) == ["copy"]
    assert flags(text, f"  {text.lower()} !") == ["copy"]
    assert flags(text, text, same_language=True) == []
    assert flags(text, text + " indah") == []


@pytest.mark.parametrize(
    "text",
    [
        "Muhammad Ali Jinnah, Benazir Bhutto and Imran Khan",
        "12 345 - 6,7 km/h",
        "https://example.org/a/long/path/with/words and www.example.org mail@example.org",
        "@someone #love #this #film #very #much",
        "😂 😂 👍🏽",
        "ok good",
    ],
)
def test_names_numbers_and_addresses_may_stay(text: str) -> None:
    assert flags(text, text) == []


def test_flags_are_known_by_name() -> None:
    found = flags(DEGENERATE[0] + "x", DEGENERATE[0] + "x", truncated=True)
    assert set(found) == {"truncated", "copy"}
    assert set(found) <= set(QUALITY_FLAGS)


def test_scores_rise_with_agreement_and_say_how_they_were_computed() -> None:
    gold = ["the film was good .", "we saw a red house in the city ."]
    half = [gold[0], "nothing of the kind"]
    for score in (chrf, lambda a, b: bleu(a, b, "sw")):
        assert score(gold, gold)["score"] == pytest.approx(100)
        assert 0 < score(half, gold)["score"] < 100
        assert "version:" in score(gold, gold)["signature"]
    with pytest.raises(ValueError, match="references"):
        chrf(gold, gold[:1])


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [("zh", "zh"), ("zho_Hans", "zh"), ("th", "char"), ("sw", "13a"), ("qal", "13a")],
)
def test_bleu_tells_words_of_a_language_apart(language: str, tokenizer: str) -> None:
    assert f"tok:{tokenizer}" in bleu(["a"], ["a"], language)["signature"]


def test_rows_are_compared_by_id() -> None:
    made = pa.table({"id": ["3", "1", "9"], "text": ["three of them", "one of them", "no gold"]})
    gold = pa.table({"id": ["1", "2", "3"], "text": ["one of them", "two of them", "three of them"]})
    found = compare(made, gold, ("text",), "sw", most=10)["text"]
    assert (found["rows"], found["chrf"]["score"]) == (2, pytest.approx(100))
    assert compare(made, gold, ("text",), "sw", most=1)["text"]["rows"] == 1
    assert compare(made.slice(2), gold, ("text",), "sw", most=10) == {}


def test_the_worst_come_first_and_once() -> None:
    def pair(translation: str, *found: str, reference: str | None = None) -> dict[str, object]:
        facts = {"source": SOURCE, "translation": translation, "flags": list(found)}
        return facts | ({"reference": reference} if reference else {})

    gold = "Anak-anak di desa ini suka bermain bola bersama setiap sore hari sampai malam."
    order = [
        pair("", "empty"),
        pair("b b b", "repetition", "truncated"),
        pair("b b", "repetition"),
        pair(SOURCE, "copy"),
        pair("short"),
        pair("Saya tidak tahu apa yang harus dilakukan besok pagi di rumah itu nanti", reference=gold),
        pair("Anak-anak di desa suka bermain bola bersama setiap sore", reference=gold),
    ]
    mixed = order * 2
    random.Random(3).shuffle(mixed)
    assert worst(mixed) == order
    assert worst(mixed, 3) == order[:3]
    parts = worst(mixed[:7], 3) + worst(mixed[7:], 3)
    assert worst(parts, 3) == order[:3]
