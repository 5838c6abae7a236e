"""Cutting loses nothing: pieces with their spaces are the text, and every piece that can be fits."""

import random

import pytest

from flare_ray.translation.pieces import cut, join


@pytest.mark.parametrize("seed", range(200))
def test_pieces_are_the_text(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choice("ab. !?\n。é؟ ทด") for _ in range(draw.randint(1, 80)))
    most = draw.randint(1, 20)
    pieces = cut(text, lambda piece: len(piece) <= most)
    assert join([piece for piece, _ in pieces], [space for _, space in pieces]) == text
    assert all(len(piece) <= most for piece, _ in pieces)


def test_sentences_stay_whole_where_they_fit() -> None:
    text = "One two. Three four!  Five?\nSix。Seven"
    assert [piece for piece, _ in cut(text, lambda piece: len(piece) <= 12)] == [
        "One two.",
        "Three four!",
        "Five?\nSix。",
        "Seven",
    ]


def test_a_text_that_fits_is_left_alone() -> None:
    assert cut(" as it is.\n", lambda piece: True) == [(" as it is.\n", "")]
