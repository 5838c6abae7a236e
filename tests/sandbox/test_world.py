"""The languages: graded, documented, light to import; sentences as the grammar says."""

import itertools
import subprocess
import sys
import time
from random import Random

import pytest

from flare_ray.sandbox import concepts, world
from flare_ray.sandbox.grammar import Clause, Noun, Sentence, answerless, find, name, write
from flare_ray.sandbox.lexicon import lexicon, overlap
from flare_ray.sandbox.sentiment import LABELS, statement

BOUGHT = Clause(
    name("anna"), verb="buy", object=Noun("lamp", "old", False), place=name("velport"), time=name("monday")
)
EVERY = (world.ENGLISH, *world.LANGUAGES.values())


def test_world_needs_neither_torch_nor_time():
    code = (
        "import sys, time; started = time.perf_counter(); import flare_ray.sandbox.world;"
        "assert not {'torch', 'transformers', 'filelock'} & set(sys.modules);"
        "print(time.perf_counter() - started)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert float(output) < 0.5  # 0.02 s on an idle machine


def test_languages_are_ordered_by_distance_and_rarer_with_it():
    languages = list(world.LANGUAGES.values())
    assert len(languages) >= 5
    assert [one.code for one in languages] == list(world.LANGUAGES)
    for near, far in itertools.pairwise(languages):
        assert near.distance < far.distance
        assert near.share > far.share
        assert overlap(near)["cognate"] > overlap(far)["cognate"]
    assert world.ENGLISH.share > 3 * sum(one.share for one in languages)


def test_codes_are_private_ones():
    assert all("qaa" <= code <= "qtz" and len(code) == 3 for code in world.LANGUAGES)


@pytest.mark.parametrize("language", EVERY, ids=lambda one: one.code)
def test_a_lexicon_has_one_word_per_meaning(language):
    words = lexicon(language)
    assert set(words) == set(concepts.ALL)
    assert len(set(words.values())) == len(words)


@pytest.mark.parametrize("language", EVERY, ids=lambda one: one.code)
def test_opposites_never_sound_alike(language):
    """Different meanings of opposite labels must not share a text, or the label would be undecidable."""
    draw = Random("opposites")
    texts = {label: {write((statement(draw, label),), language) for _ in range(2000)} for label in LABELS}
    assert not texts["positive"] & texts["negative"]
    assert not (texts["positive"] | texts["negative"]) & texts["neutral"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("eng", "anna bought an old lamp in velport on monday."),
        ("qko", "anna möntay saak pelpört in ölt kkasjenmata sankkoti."),  # time, place, object, verb
    ],
)
def test_word_order(code, text):
    assert write((Sentence((BOUGHT,)),), world.language(code)) == text


def test_english_syntax():
    def english(*clauses, link=None):
        return write((Sentence(clauses, link),), world.ENGLISH)

    good = Clause(Noun("soup"), quality="good", degree="very", negated=True)
    assert english(good) == "the soup was not very good."
    assert english(answerless(BOUGHT, "place")) == "where did anna buy an old lamp on monday?"
    assert english(answerless(BOUGHT, "subject")) == "who bought an old lamp in velport on monday?"
    assert english(Clause(Noun("bed"), quality="bad", asks="polar")) == "was the bed bad?"
    liked = Clause(name("we"), verb="like", object=Noun("cook"), negated=True)
    assert english(good, liked, link="but") == "the soup was not very good, but we did not like the cook."
    assert english(good, liked, link="although").startswith("although the soup was not very good, we did not")


@pytest.mark.parametrize("language", EVERY, ids=lambda one: one.code)
@pytest.mark.parametrize("role", ["subject", "object", "place", "time"])
def test_find_gives_exact_offsets(language, role):
    sentences = (Sentence((Clause(Noun("soup"), quality="good"),)), Sentence((BOUGHT,)))
    text = write(sentences, language)
    answer, start = find(sentences, language, 1, role)
    assert answer
    assert text[start : start + len(answer)] == answer
    assert answer[-1] not in ".,?"


def test_find_refuses_a_part_that_is_not_there():
    with pytest.raises(ValueError, match="sentence 0 has no object"):
        find((Sentence((Clause(Noun("soup"), quality="good"),)),), world.ENGLISH, 0, "object")


def test_words_do_not_depend_on_the_process():
    code = (
        "from flare_ray.sandbox import lexicon, world;"
        "print([lexicon.lexicon(one) for one in world.LANGUAGES.values()])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]


def test_all_lexicons_and_sentences_are_quick():
    started = time.perf_counter()
    for language in EVERY:
        for _ in range(200):
            write((Sentence((BOUGHT,)),), language)
    assert time.perf_counter() - started < 2


def test_translators_know_every_language_by_a_flores_code():
    assert [world.flores(folder) for folder in ("english", "eng", "qal")] == [
        "eng_Latn",
        "eng_Latn",
        "qal_Latn",
    ]
    with pytest.raises(KeyError):
        world.flores("qzz")
