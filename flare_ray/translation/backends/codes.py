"""What a translation checkpoint calls languages: NLLB `swh_Latn`, M2M100 `__sw__`, Marian `>>swh<<` or nothing."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Literal

from flare_ray.errors import InputError, Problem
from flare_ray.translation.checkpoints import FLORES, flores

_STYLES = {
    "nllb": re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"),
    "m2m100": re.compile(r"__([a-z]{2,3})__"),
    "marian": re.compile(r">>([A-Za-z_]+)<<"),
}
_TWO_LETTERS = {
    **{code: name for name, code in FLORES.items() if len(name) == 2},
    "jav_Latn": "jv",
    "sun_Latn": "su",
}
_LISTED = 40  # codes in an error; NLLB has 202


@dataclass(frozen=True)
class Codes:
    """The languages of one checkpoint.

    style: `none` for a model of one pair, which is told neither language. tokens: code -> token of the vocabulary.
    """

    style: Literal["nllb", "m2m100", "marian", "none"]
    tokens: dict[str, str]

    @property
    def told_source(self) -> bool:
        """Whether the model is told the language of its input (Marian is told the target's at most)."""
        return self.style in ("nllb", "m2m100")

    def code(self, language: str) -> str:
        """The checkpoint's code of a language, given as the study's code or as a code of the checkpoint.

        Raises:
            InputError: the checkpoint does not know it.
        """
        for candidate in _candidates(language):
            if candidate in self.tokens:
                return candidate
        raise InputError("cannot translate", [Problem("language", repr(language), self._wanted(language))])

    def _wanted(self, language: str) -> str:
        known = sorted(self.tokens)
        near = difflib.get_close_matches(language, known, 3, 0.6)
        listed = ", ".join(known) if len(known) <= _LISTED else f"{len(known)} codes like {known[0]}"
        nearest = f"; the nearest: {', '.join(near)}" if near else ""
        return f"a language of the checkpoint ({listed}) or the study's code of one{nearest}"


def codes_of(tokenizer: Any) -> Codes:
    """What a tokenizer's vocabulary has of language tokens."""
    kind = type(tokenizer).__name__.removesuffix("Fast").removesuffix("Tokenizer").lower()
    if kind not in _STYLES:
        return Codes("none", {})
    # M2M100's stand behind its vocabulary
    vocabulary = [*tokenizer.get_vocab(), *getattr(tokenizer, "lang_code_to_token", {}).values()]
    matches = (_STYLES[kind].fullmatch(token) for token in vocabulary)
    tokens = {match[1]: match[0] for match in matches if match}
    return Codes(kind if tokens else "none", tokens)  # type: ignore[arg-type]


def _candidates(language: str) -> list[str]:
    """What a language may be called: as given, FLORES's code, its three letters, two letters."""
    try:
        code = flores(language)
    except KeyError:
        code = language
    two = _TWO_LETTERS.get(code)
    return [language, code, code.partition("_")[0], *([two] if two else [])]
