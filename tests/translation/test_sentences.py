"""Sentences end where their script says so, and nothing is lost between them."""

from __future__ import annotations

import pytest

from flare_ray.translation.answers import STYLES, Span, enclose
from flare_ray.translation.sentences import count, fitting, join, sentences

TEXTS = {
    "One. Two! Three? Four…": 4,
    "Dr. Lee met Mr. J. R. Smith at 5.30 p.m. in St. Ives, e.g. twice. Then they left.": 2,
    '"Why?" she asked. He said "No. Never. Not me." and left.': 2,
    "你好。我走了！真的吗？「好。」他说。": 5,
    "مرحبا. كيف حالك؟ أنا بخير.": 3,
    "यह घर है। वह पेड़ है।": 2,
    "ሰላም። ደህና ነኝ።": 2,
    "สวัสดีครับ ผมชื่อสมชาย": 1,
    "First line\nSecond line": 2,
    "An [answer. With two] parts. And (more. Of it.) here.": 2,
    "It costs 5 > 3 [and. Nothing closes. Here.": 3,
    "": 0,
    "   ": 0,
}


@pytest.mark.parametrize("text", TEXTS)
def test_sentences(text: str) -> None:
    assert count(text) == TEXTS[text]
    assert "".join(sentence + space for sentence, space in sentences(text)) == text
    assert "".join(sentence + space for sentence, space in fitting(text, lambda part: len(part) < 9)) == text


@pytest.mark.parametrize("style", STYLES)
def test_markers_around_an_answer_stay_together(style: str) -> None:
    text = "He came. It was the St. Louis. The end of 1904. Nobody knew."
    answer = text.index("St. Louis. The end")
    marked = enclose(text, [Span(answer, answer + len("St. Louis. The end"))], style)
    assert marked is not None
    holding = [sentence for sentence, _ in sentences(marked) if "St. Louis. The end" in sentence]
    assert len(holding) == 1
    assert count(marked) == 3


def test_sentences_are_put_together_as_the_script_does() -> None:
    assert join(["Moja.", "Mbili."], ["", ""], "Latn") == "Moja. Mbili."
    assert join(["一。", "二。"], [" ", ""], "Hans") == "一。二。"
    assert join(["Moja.", "Mbili."], ["\n", " "], "Latn") == "Moja.\nMbili. "
