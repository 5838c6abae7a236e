"""A language's words: cognates by sound change, the rest coined from its own syllables.

Everything follows from names by SHA-256, so a word never depends on the order in which words are asked for,
on the process, or on Python's hash seed.
"""

from __future__ import annotations

import hashlib
from functools import cache

from flare_ray.sandbox import concepts
from flare_ray.sandbox.world import ENGLISH, Language


def number(*parts: object) -> int:
    """A 64-bit number that depends on `parts` only."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def change(word: str, sounds: tuple[tuple[str, str], ...]) -> str:
    """`word` after the sound changes, each letter changed at most once: no rule sees another's output."""
    result, at = "", 0
    while at < len(word):
        for old, new in sounds:
            if word.startswith(old, at):
                result, at = result + new, at + len(old)
                break
        else:
            result, at = result + word[at], at + 1
    return result


def coin(language: Language, concept: str, attempt: int) -> str:
    """A word of two or three syllables of the language's own (one for function words)."""
    onsets, vowels, codas = (part.split() for part in language.syllables)
    seed = number(language.code, concept, attempt)
    length = 1 + attempt // 4 if concept in concepts.FUNCTION else 2 + seed % 2
    word = ""
    for syllable in range(length):
        draw = number(seed, syllable)
        coda = codas[draw // 10_000 % len(codas)]
        word += onsets[draw % len(onsets)] + vowels[draw // 100 % len(vowels)] + coda.replace("-", "")
    return word


@cache
def lexicon(language: Language) -> dict[str, str]:
    """Meaning → word, for all of `concepts.ALL`; no two meanings share a word, no coined word is English."""
    if language.code == ENGLISH.code:
        return {concept: concept for concept in concepts.ALL}
    common = [concept for concept in concepts.ALL if concept not in concepts.PROPER]
    ranked = sorted(common, key=lambda concept: number("cognate", language.code, concept))
    shared = {*ranked[: round(language.cognates * len(ranked))], *concepts.PROPER}
    words: dict[str, str] = {}
    taken: set[str] = set()
    for concept in sorted(concepts.ALL, key=lambda concept: concept not in shared):
        word = change(concept, language.sounds) if concept in shared else ""
        attempt = 0
        while not word or word in taken:
            word = coin(language, concept, attempt)
            word = "" if word in concepts.ALL else word
            attempt += 1
        words[concept] = word
        taken.add(word)
    return words


def overlap(language: Language) -> dict[str, float]:
    """How much of the lexicon looks like English, proper names left out (both 0 to 1).

    ``identical`` is the share of words spelled as in English, ``cognate`` the share spelled so or got by
    sound change.
    """
    common = [concept for concept in concepts.ALL if concept not in concepts.PROPER]
    words = lexicon(language)
    same = sum(words[concept] == concept for concept in common)
    related = sum(words[concept] == change(concept, language.sounds) for concept in common)
    return {"identical": round(same / len(common), 4), "cognate": round(related / len(common), 4)}
