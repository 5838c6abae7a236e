"""An answer is found again exactly where its markers stand, or not at all."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import get_args

import pytest

from flare_ray.plan.values import Marker
from flare_ray.translation.answers import STYLES, Recovered, Span, distinct, enclose, find, recover

PLAIN = [
    *"aZ7éß .,-",
    "e\u0301",
    "কি",
    "ক্",
    "తె",
    "น้ำ",
    "ที่",
    "بِ",
    "中",
    "한",
    "👨‍👩‍👧",
    "👍🏽",
    "\u200b",
    "\n",
]
OWN_SIGNS = {
    "brackets": ["[", "]", "[1]", "［", "】", "〖", "&#91;"],
    "angles": ["<", ">", "</b>", "->", "«", "》", "＞", "&lt;"],
    "tags": ["<", "<a>", "</a>", "< b >", "＜", "&gt;"],
    "quotes": ['"', "“", "”", "「", "''", " 'n", "5′", "5″", "&quot;"],
}
WRITTEN = {
    "brackets": r"[\[\]]",
    "angles": "[<>]",
    "tags": "</?[a-z]>",
    "quotes": '"',
}


def contexts(seed: str, count: int = 1500) -> Iterator[tuple[str, tuple[Span, ...], set[str]]]:
    """Random texts, disjoint spans of whole letters in any order, and the styles whose signs the text has."""
    draw = random.Random(seed)
    for _ in range(count):
        own = {style for style in STYLES if draw.random() < 0.25}
        signs = [sign for style in sorted(own) for sign in OWN_SIGNS[style]]
        letters = draw.choices(PLAIN + signs * 2, k=draw.randint(1, 24))
        starts = [0]
        for letter in letters:
            starts.append(starts[-1] + len(letter))
        most = len(letters) // 2 if draw.random() < 0.5 else 1
        cuts = sorted(draw.sample(range(len(letters) + 1), 2 * draw.randint(1, max(1, min(4, most)))))
        if draw.random() < 0.2:
            cuts[0], cuts[-1] = 0, len(letters)
        if len(cuts) > 2 and draw.random() < 0.3:
            cuts[1] = cuts[2]  # adjacent
        spans = [Span(starts[one], starts[two]) for one, two in zip(cuts[::2], cuts[1::2], strict=True)]
        draw.shuffle(spans)
        text = "".join(letters)
        yield text, tuple(spans), {style for style in own if any(sign in text for sign in OWN_SIGNS[style])}


def parts(found: Recovered) -> list[str]:
    return [found.text[span.start : span.end] for span in found.spans]


def trimmed(text: str, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """The spans without blank space at their ends."""
    kept = []
    for span in spans:
        part = text[span.start : span.end]
        core = part.strip(" \n\u200b")
        start = span.start + part.find(core)
        kept.append(Span(start, start + len(core)))
    return tuple(kept)


def marked(seed: str, style: str) -> Iterator[tuple[str, tuple[Span, ...], str]]:
    """Contexts that the style can be used on, and their marked texts."""
    for context, spans, _ in contexts(seed):
        text = enclose(context, spans, style)
        if text is not None:
            yield context, spans, text


def pieces(text: str, style: str) -> list[str]:
    """A marked text, with each of its markers at an odd place."""
    return re.split(f"({WRITTEN[style]})", text)


def test_the_sweep_and_the_styles_know_the_same_names() -> None:
    assert set(get_args(Marker)) == set(STYLES)
    with pytest.raises(ValueError, match="'brackets' \\(the nearest\\)"):
        enclose("a", [Span(0, 1)], "bracket")
    with pytest.raises(ValueError, match="wanted one of: brackets, angles, tags, quotes"):
        recover("a", 1, "xyz")


def test_what_is_not_changed_comes_back_exactly() -> None:
    usable = dict.fromkeys(STYLES, 0)
    for context, spans, own in contexts("identity"):
        right = trimmed(context, spans)
        blank = any(span.start == span.end for span in right)
        for style in STYLES:
            text = enclose(context, spans, style)
            if blank or style in own or (len(spans) > 1 and style != "tags"):
                assert text is None, (style, context)
            if text is not None:
                usable[style] += 1
                assert recover(text, len(spans), style) == Recovered(context, right)
        if not blank and not own:  # of itself no text excludes a style
            assert enclose(context, spans, "tags") is not None
            assert len(spans) > 1 or all(enclose(context, spans, style) for style in STYLES)
    assert min(usable.values()) > 100


@pytest.mark.parametrize("style", STYLES)
def test_a_marker_lost_doubled_or_added_is_no_answer(style: str) -> None:
    draw = random.Random(style)
    for _, spans, text in marked("damage", style):
        markers = pieces(text, style)
        odd = range(1, len(markers), 2)
        lost = draw.choice(odd)
        assert recover("".join(markers[:lost] + markers[lost + 1 :]), len(spans), style) is None
        half = [piece[1:] if place == lost else piece for place, piece in enumerate(markers)]
        assert recover("".join(half), len(spans), style) is None
        another, place = draw.choice([markers[place] for place in odd]), draw.randrange(len(text) + 1)
        assert recover(text[:place] + another + text[place:], len(spans), style) is None
        sign = draw.choice(re.sub("[a-z/]", "", another))
        assert recover(text[:place] + sign + text[place:], len(spans), style) is None
        assert recover(re.sub(WRITTEN[style], "", text), len(spans), style) is None
        assert recover(text, len(spans) + 1, style) is None


@pytest.mark.parametrize("style", STYLES)
def test_two_markers_that_change_places_are_no_answer(style: str) -> None:
    draw = random.Random(style)
    swapped = 0
    for _, spans, text in marked("swap", style):
        markers = pieces(text, style)
        one, two = draw.sample(range(1, len(markers), 2), 2)
        markers[one], markers[two] = markers[two], markers[one]
        same = "".join(markers) == text
        found = recover("".join(markers), len(spans), style)
        assert found == (recover(text, len(spans), style) if same else None)
        swapped += not same
    assert swapped > 100 or style == "quotes"


@pytest.mark.parametrize("style", STYLES)
def test_spaces_around_markers_neither_stay_doubled_nor_come_into_the_answer(style: str) -> None:
    draw = random.Random(style)
    for context, spans, text in marked("spaces", style):
        markers = pieces(text, style)
        for place in range(1, len(markers), 2):
            if style == "tags":
                markers[place] = re.sub("([<>/])", lambda sign: f"{sign[1]} ", markers[place]).strip()
                markers[place] = (
                    markers[place].replace("a >", "a  >") if draw.random() < 0.5 else markers[place]
                )
            inner = place % 4 == 1
            markers[place] = f"{markers[place]} " if inner else f" {markers[place]}"
        found = recover("".join(markers), len(spans), style)
        assert found is not None
        assert parts(found) == parts(Recovered(context, trimmed(context, spans)))
        assert re.sub(r"\s", "", found.text) == re.sub(r"\s", "", context)
        if "  " not in context:
            assert "  " not in found.text


@pytest.mark.parametrize(
    ("translated", "text", "answer"),
    [
        ("a [ b ] c", "a b c", "b"),
        ("a [ b ].", "a b.", "b"),
        ("([ b ])", "(b)", "b"),
        ("a[ b ]c", "a b c", "b"),
        ("[ b ]", "b", "b"),
        ("ใน[กรุงเทพ]มี", "ในกรุงเทพมี", "กรุงเทพ"),
        ("[Helsinki]ssa", "Helsinkissa", "Helsinki"),
        ("ในกรุง [\u200bเทพ\u200b] นี้", "ในกรุง เทพ นี้", "เทพ"),
    ],
)
def test_spaces_that_markers_kept_apart(translated: str, text: str, answer: str) -> None:
    found = recover(translated, 1, "brackets")
    assert found is not None
    assert (found.text, parts(found)) == (text, [answer])


def test_adjacent_answers_keep_the_one_space_between_them() -> None:
    found = recover("<a> x </a><b> y </b>", 2, "tags")
    assert found == Recovered("x y", (Span(0, 1), Span(2, 3)))
    assert recover("<a>x </a><b>y</b>", 2, "tags") == Recovered("x y", (Span(0, 1), Span(2, 3)))
    assert recover("<a>x</a><b>y</b>", 2, "tags") == Recovered("xy", (Span(0, 1), Span(1, 2)))


def test_tags_follow_their_answers_wherever_they_go() -> None:
    draw = random.Random("order")
    for _ in range(300):
        answers = ["".join(draw.choices(PLAIN[:9], k=3)).strip(" ") for _ in range(draw.randint(2, 6))]
        clauses = [
            (number, f"({number} <{tag}>{answer}</{tag}>) ")
            for number, (tag, answer) in enumerate(zip("abcdef", answers, strict=False))
            if answer
        ]
        if len(clauses) < len(answers):
            continue
        draw.shuffle(clauses)
        found = recover("".join(clause for _, clause in clauses), len(answers), "tags")
        assert found is not None
        assert parts(found) == answers
        assert all(f"({number} {answers[number]})" in found.text for number, _ in clauses)


@pytest.mark.parametrize(
    ("style", "translated"),
    [
        ("brackets", "在［安］住"),
        ("brackets", "在【安】住"),
        ("brackets", "在[安］住"),
        ("angles", "在＜安＞住"),
        ("angles", "在〈安〉住"),
        ("tags", "在＜ａ＞安＜／ａ＞住"),
        ("tags", "在< A >安< / A >住"),
        ("tags", "在<а>安</а>住"),  # Cyrillic
        ("quotes", "在“安”住"),
        ("quotes", "在「安」住"),
        ("quotes", "在«安»住"),
        ("quotes", "在»安«住"),
        ("quotes", "在„安“住"),
        ("quotes", "在”安”住"),
        ("quotes", "在＂安＂住"),
    ],
)
def test_forms_of_other_scripts(style: str, translated: str) -> None:
    assert recover(translated, 1, style) == Recovered("在安住", (Span(1, 2),))


@pytest.mark.parametrize(
    ("style", "translated"),
    [
        ("brackets", "]a["),
        ("brackets", "[ ]"),
        ("brackets", "[\u200b]"),
        ("brackets", "[\u0301a]"),
        ("brackets", "(a)"),
        ("brackets", "“a”"),
        ("angles", "<<a>>"),
        ("angles", "«a»"),
        ("angles", "&lt;a&gt;"),
        ("tags", "<a>x<a>"),
        ("tags", "</a>x</a>"),
        ("tags", "<a>x<a/>"),
        ("tags", "<b>x</b>"),
        ("tags", "<a>x</a> a>"),
        ("tags", "<a>x</a> <unk>"),
        ("tags", "<в>x</в>"),  # v in Cyrillic, b by its looks
        ("quotes", "”a“"),
        ("quotes", "'a'"),
        ("quotes", '“a"'),
        ("quotes", "「a』"),
    ],
)
def test_what_may_be_a_marker_but_is_not_sure_to_be(style: str, translated: str) -> None:
    assert recover(translated, 1, style) is None


def test_answers_within_or_across_one_another_are_none() -> None:
    assert recover("<a>x <b>y</b></a>", 2, "tags") is None
    assert recover("<a>x <b>y</a> z</b>", 2, "tags") is None
    assert recover("<a>x</a> <a>y</a>", 2, "tags") is None


@pytest.mark.parametrize(
    ("context", "answer", "whole"),
    [
        ("তিনি কলকাতায় থাকেন", "কলকাত", "কলকাতা"),
        ("ఆయన తెలుగు కవి", "తెలుగ", "తెలుగు"),
        ("ชาวกรุงที่น้ำ", "ชาวกรุงท", "ชาวกรุงที่"),
        ("ดื่มน้ำ", "ดื่มน้", "ดื่มน้ำ"),
        ("في بَيتٍ كبير", "بَيت", "بَيتٍ"),
        ("un cafe\u0301 noir", "cafe", "cafe\u0301"),
        ("ok 👍🏽!", "👍", "👍🏽"),
        ("a 👨‍👩‍👧 b", "👩", "👨‍👩‍👧"),
        ("তিনি কলকাতায় থাকেন", "কলকাতা", "কলকাতা"),
    ],
)
@pytest.mark.parametrize("style", STYLES)
def test_no_answer_is_cut_before_a_combining_mark(context: str, answer: str, whole: str, style: str) -> None:
    start = context.index(answer)
    text = enclose(context, [Span(start, start + len(answer))], style)
    assert text is not None
    found = recover(text, 1, style)
    assert found is not None
    assert (found.text, parts(found)) == (context, [whole])


def test_a_vowel_sign_behind_the_closing_marker_belongs_to_the_answer() -> None:
    found = recover("তিনি [ঢাক]ায় থাকেন", 1, "brackets")
    assert found is not None
    assert (found.text, parts(found)) == ("তিনি ঢাকায় থাকেন", ["ঢাকা"])
    assert recover("তিনি [ঢাক ]ায় থাকেন", 1, "brackets") is None
    assert recover("তিনি ঢাক[ায় থাকেন]", 1, "brackets") is None
    assert recover("👨‍[👩‍]👧", 1, "brackets") is None


def test_what_cannot_be_marked() -> None:
    assert enclose("a b", [], "tags") is None
    assert enclose("a b", [Span(1, 2)], "tags") is None
    assert enclose("\u0301a", [Span(0, 1)], "tags") is None
    assert enclose("b \u0301a", [Span(2, 4)], "tags") is None
    assert enclose("a b c", [Span(0, 3), Span(2, 5)], "tags") is None
    assert enclose("কা", [Span(0, 1), Span(1, 2)], "tags") is None  # one letter
    assert enclose("a" * 27, [Span(place, place + 1) for place in range(27)], "tags") is None
    for wrong in (Span(-1, 1), Span(2, 1), Span(0, 4)):
        with pytest.raises(ValueError, match="3 code points"):
            enclose("a b", [wrong], "tags")


def test_apostrophes_are_not_quotes() -> None:
    assert enclose("anna's don’t", [Span(0, 4)], "quotes") == '"anna"\'s don’t'
    assert enclose("the 'red' one", [Span(0, 3)], "quotes") is None
    assert enclose("the boys’ one", [Span(0, 3)], "quotes") is None


def test_distinct_keeps_the_first_of_those_that_overlap() -> None:
    one, within, across, beside = Span(2, 6), Span(3, 5), Span(5, 9), Span(6, 8)
    assert distinct([one, within, one, Span(4, 4), beside, across]) == (one, beside)
    assert distinct([within, one]) == (within,)
    assert distinct([]) == ()


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("anna lives in arden", "arden", "arden"),
        ("anna lives in arden", " arden. ", "arden"),
        ("the U.S. army", "U.S.", "U.S."),
        ("Anna lives in Arden", "arden", "Arden"),
        ("arden and Arden", "arden", "arden"),
        ("arden, arden", "arden", None),
        ("Arden, ARDEN", "arden", None),
        ("gardens of arden", "arden", "arden"),
        ("gardens", "arden", None),
        ("in 1999 oder 19", "19", "19"),
        ("哈哈哈", "哈哈", None),  # twice
        ("nothing", "", None),
        ("a. b.", " . ", None),
        ("ภาษาไทยในกรุงเทพมี", "กรุงเทพ", "กรุงเทพ"),
        ("ดื่มน้ำ", "น้", None),
        ("他住在北京市。", "北京", "北京"),
        ("第1999年", "1999", "1999"),
        ("第1999年", "199", None),
        ("তিনি কলকাতায় থাকেন", "কলকাত", None),
        ("তিনি কলকাতা থাকেন", "কলকাতা", "কলকাতা"),
        ("في البيت الكبير", "البيت", "البيت"),
        ("في بَيتٍ", "بَيت", None),
        ("(a+b)* is", "(a+b)*", "(a+b)*"),
        ("İstanbul ve Straße", "straße", "Straße"),
    ],
)
def test_an_answer_translated_alone_is_looked_up(text: str, answer: str, found: str | None) -> None:
    span = find(text, answer)
    assert (text[span.start : span.end] if span else None) == found
