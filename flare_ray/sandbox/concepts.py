"""The meanings the world talks about, by kind. A meaning is written as its English word.

Small on purpose: a tiny model must know all of them well in English after a minute of pretraining.
"""

from __future__ import annotations

FOOD = ("soup", "rice", "bread", "cake", "fish", "salad")
DEVICES = ("phone", "camera", "lamp", "clock", "radio", "printer")
FURNITURE = ("bed", "table", "chair", "mirror")
CLOTHES = ("coat", "hat", "scarf", "glove")
WORKERS = ("waiter", "cook", "driver", "guide", "seller", "nurse")

HYPERNYMS: dict[str, tuple[str, ...]] = {
    "meal": FOOD,
    "device": DEVICES,
    "furniture": FURNITURE,
    "garment": CLOTHES,
    "worker": WORKERS,
}
"""General word → what falls under it."""

THINGS = (*FOOD, *DEVICES, *FURNITURE, *CLOTHES)
NOUNS = (*THINGS, *WORKERS)

POSITIVE = (
    *("good", "great", "superb", "lovely", "wonderful", "excellent", "perfect", "pleasant"),
    *("splendid", "delightful", "charming", "brilliant", "fantastic", "amazing"),
)
NEGATIVE = (
    *("bad", "awful", "terrible", "horrible", "nasty", "poor", "dreadful", "ugly"),
    *("lousy", "grim", "shabby", "useless", "dull", "weak"),
)
COLOURS = ("red", "blue", "green", "white", "black", "yellow")
PLAIN = (*COLOURS, "small", "big", "old", "new", "local", "round")
"""Adjectives without a judgement."""

PRAISE = ("love", "enjoy", "like", "praise", "admire", "adore", "recommend")
BLAME = ("hate", "dislike", "regret", "despise", "criticise", "resent", "reject")
ACTIONS = ("buy", "see", "find", "carry", "order", "sell", "bring", "move", "keep", "send")

PAST = {
    "buy": "bought",
    "see": "saw",
    "find": "found",
    "carry": "carried",
    "sell": "sold",
    "bring": "brought",
    "keep": "kept",
    "send": "sent",
    "regret": "regretted",
    "get": "got",
    "seek": "sought",
}
"""English past tenses that are not the base form plus ``-ed`` or ``-d``."""

NAMES = (
    *("anna", "boris", "clara", "david", "elena", "felix", "greta"),
    *("henry", "irene", "jonas", "karla", "leon", "maria", "nils"),
)
TOWNS = ("velport", "marston", "arden", "tolmin", "bergen", "kelso", "sorano", "lindal", "rumford", "ostrava")
TIMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "easter")
PROPER = (*NAMES, *TOWNS, *TIMES)
"""Proper names: every language takes them over, by its sound changes only."""

DEGREES = ("very", "really", "quite", "extremely")
HAPPY = ("happy", "pleased", "satisfied", "delighted")
ANGRY = ("angry", "sad", "disappointed", "upset")
CALM = ("calm", "silent", "neutral", "busy")
"""How people are after something good, something bad, and after nothing of either."""

FUNCTION = (
    *(
        "the",
        "be",
        "do",
        "not",
        "and",
        "but",
        "although",
        "because",
        "in",
        "on",
        "we",
        "it",
        "they",
        "my",
        "our",
    ),
    *("who", "what", "where", "when", "whether", "someone", "something", "no", "yes", "so"),
    *("true", "false", "unclear", "want", "seek", "get"),
)

ALL: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *FUNCTION,
            *PROPER,
            *NOUNS,
            *HYPERNYMS,
            *POSITIVE,
            *NEGATIVE,
            *PLAIN,
            *PRAISE,
            *BLAME,
            *ACTIONS,
            *DEGREES,
            *HAPPY,
            *ANGRY,
            *CALM,
        )
    )
)
"""Every meaning once, in a fixed order."""

HELD_OUT = frozenset(
    {"superb", "pleasant", "charming", "amazing", "awful", "nasty", "shabby", "dull", "adore", "despise"}
)
"""Judgements that no sentiment training row uses: only validation and test do, beside the others."""


def polarity(word: str) -> int:
    """+1 for praise, −1 for blame, 0 for anything else."""
    if word in POSITIVE or word in PRAISE:
        return 1
    return -1 if word in NEGATIVE or word in BLAME else 0
