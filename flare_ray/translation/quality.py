"""What looks wrong with a translation, and how close translations come to gold ones.

>>> flags("the film was good", "film film film film film film film film film film")
['repetition']
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flare_ray.translation.checkpoints import flores
from flare_ray.translation.suspicions import LengthRatio, suspicions

if TYPE_CHECKING:
    import pyarrow as pa

QUALITY_FLAGS = ("empty", "repetition", "truncated", "script", "short", "long", "sentences", "copy")
"""Worst first. `script`, `short`, `long` and `sentences` are found by comparison: suspicions.py."""

LOOP = 40
"""Characters of a loop at the end of a text, at least four times round, that are degenerate: "ha ha ha ha" is not."""
DISTINCT = 0.5
"""Least share of distinct n-grams: 4 words, or 8 characters in a script without spaces."""
_FEW = 16  # n-grams, too few for a share
_LONGEST_UNIT = 80
_PLAIN_WORDS, _PLAIN_LETTERS, _CAPITAL_WORDS = 4, 12, 6
_NOT_PROSE = re.compile(r"\S+://\S+|www\.\S+|\S+@\S+|[@#]\w+")
_CHARACTERS = ("zho", "yue", "jpn", "tha", "lao", "mya", "khm", "bod", "dzo", "shn")  # written without spaces


def flags(text: str, translation: str, truncated: bool = False, same_language: bool = False) -> list[str]:
    """Return what is wrong with a translation by itself, of QUALITY_FLAGS and in their order.

    empty: blank, of a text that is not.
    repetition: it ends in a loop (LOOP), or few of its n-grams are distinct (DISTINCT), and the text is not so too.
    truncated: as told.
    copy: its letters and digits are the text's, and the text is prose: at least 4 words that are not names,
        addresses, hashtags or numbers, or 12 letters of a script without capitals. Not when both sides are
        one language.
    """
    if not translation.strip():
        return ["empty"] if text.strip() else []
    found = {
        "repetition": _repeats(translation) and not _repeats(text),
        "truncated": truncated,
        "copy": not same_language and _letters(text) == _letters(translation) and _prose(text),
    }
    return [flag for flag in QUALITY_FLAGS if found.get(flag)]


def all_flags(text: str, translation: str, stored: Iterable[str], expected: LengthRatio) -> list[str]:
    """Return every flag of a translation: those stored with it, and those found beside its original now."""
    flagged = {*stored, *suspicions(text, translation, expected)}
    return [flag for flag in QUALITY_FLAGS if flag in flagged]


def _repeats(text: str) -> bool:
    return _loop(text) or _distinct(text) < DISTINCT


def _loop(text: str) -> bool:
    """Whether the text's end goes round at least four times over LOOP characters, with a letter among them."""
    text = " ".join(text.split()).rstrip(".!?…。！？ ")
    for unit in range(1, min(_LONGEST_UNIT, len(text) // 4) + 1):
        again = 0
        while again + unit < len(text) and text[-1 - again] == text[-1 - again - unit]:
            again += 1
        round_and_round = again + unit
        if round_and_round >= max(LOOP, 4 * unit) and any(map(str.isalpha, text[-unit:])):
            return True
    return False


def _distinct(text: str) -> float:
    """The share of distinct n-grams; 1 for a short text."""
    words: Sequence[str] = text.split()
    spaced = len(words) * 20 > len(text)
    items, size = (words, 4) if spaced else ("".join(words), 8)
    grams = [tuple(items[start : start + size]) for start in range(len(items) - size + 1)]
    grams = [gram for gram in grams if any(map(str.isalpha, "".join(gram)))]
    return len(set(grams)) / len(grams) if len(grams) >= _FEW else 1.0


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text))).casefold()


def _prose(text: str) -> bool:
    """Whether there is something to translate: more than names, numbers and addresses."""
    words = [word.strip("\"'“”‘’«»([{") for word in _NOT_PROSE.sub(" ", text).split()]
    words = [word for word in words if any(map(str.isalpha, word))]
    if text.isupper() and len(words) >= _CAPITAL_WORDS:
        return True
    plain = [word for word in words if not word[0].isupper() and sum(map(str.isalpha, word)) > 1]
    caseless = sum(unicodedata.category(letter) == "Lo" for word in words for letter in word)
    return len(plain) >= _PLAIN_WORDS or caseless >= _PLAIN_LETTERS


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """chrF2 (Popović, 2015) of a corpus, 0 to 100: `score`, and sacrebleu's `signature` of how it was computed."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return _scored(metric, hypotheses, references)


def bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, Any]:
    """BLEU of a corpus, as `chrf`. Tokens are characters in Thai and its like, `zh`'s in Chinese, else `13a`'s."""
    from sacrebleu.metrics import BLEU

    return _scored(BLEU(tokenize=_tokenizer(language)), hypotheses, references)


def _scored(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(
            f"{len(hypotheses)} translations, {len(references)} references; wanted as many, and some"
        )
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return {"score": score, "signature": str(metric.get_signature())}


def _tokenizer(language: str) -> str:
    try:
        code = flores(language)
    except KeyError:
        code = language
    code = code.partition("_")[0]
    return "zh" if code in ("zho", "yue", "zh") else "char" if code in _CHARACTERS else "13a"


def compare(
    made: pa.Table, gold: pa.Table, columns: Iterable[str], language: str, most: int
) -> dict[str, Any]:
    """chrF and BLEU of each text column over the first `most` rows that have a gold translation, known by `id`.

    Returns column -> `rows`, `chrf`, `bleu`; empty when no row has one.
    """
    places = {row_id: place for place, row_id in enumerate(gold["id"].to_pylist())}
    mine = [n for n, row_id in enumerate(made["id"].to_pylist()) if row_id in places][:most]
    if not mine:
        return {}
    theirs = [places[row_id] for row_id in made["id"].take(mine).to_pylist()]
    found: dict[str, Any] = {}
    for column in columns:
        hypotheses, references = made[column].take(mine).to_pylist(), gold[column].take(theirs).to_pylist()
        scores = {"chrf": chrf(hypotheses, references), "bleu": bleu(hypotheses, references, language)}
        found[column] = {"rows": len(mine), **scores}
    return found


def worst(pairs: Iterable[Mapping[str, Any]], n: int = 20) -> list[dict[str, Any]]:
    """The n pairs that look worst, the worst first, each once: for people to read.

    Pairs hold `source`, `translation`, `flags` and perhaps a `reference`. First count flags, then lengths that differ
    more than threefold (from the reference's, else from the source's), then chrF where there is a reference, then
    lengths again. The worst of two parts' worst are the worst of the whole.
    """
    each = {(pair["source"], pair["translation"]): dict(pair) for pair in pairs}
    return sorted(each.values(), key=_badness)[:n]


def _badness(pair: Mapping[str, Any]) -> tuple[Any, ...]:
    ranks = [QUALITY_FLAGS.index(flag) for flag in pair["flags"]]
    reference = pair.get("reference")
    other = reference or pair["source"]
    off = abs(math.log((1 + len(pair["translation"])) / (1 + len(other))))
    close = _sentence_chrf()(pair["translation"], reference) if reference else 0.0
    beyond = max(0.0, off - math.log(3))
    return min(ranks, default=len(QUALITY_FLAGS)), -len(ranks), -beyond, close, -off, pair["source"]


def _sentence_chrf() -> Callable[[str, str], float]:
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return lambda translation, reference: metric.sentence_score(translation, [reference]).score
