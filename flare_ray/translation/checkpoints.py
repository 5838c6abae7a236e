"""The codes by which NLLB models know the study's languages (FLORES-200)."""

from __future__ import annotations

from collections.abc import Iterable

from flare_ray.core.languages import code_of, english_name, is_code
from flare_ray.sandbox import world

FLORES = {
    # XNLI
    "ar": "arb_Arab",
    "bg": "bul_Cyrl",
    "de": "deu_Latn",
    "el": "ell_Grek",
    "es": "spa_Latn",
    "fr": "fra_Latn",
    "hi": "hin_Deva",
    "ru": "rus_Cyrl",
    "sw": "swh_Latn",
    "th": "tha_Thai",
    "tr": "tur_Latn",
    "ur": "urd_Arab",
    "vi": "vie_Latn",
    "zh": "zho_Hans",
    # TyDiQA
    "bn": "ben_Beng",
    "fi": "fin_Latn",
    "id": "ind_Latn",
    "ko": "kor_Hang",
    "te": "tel_Telu",
    # NusaX; Madurese and Ngaju have no code and go as Indonesian (paper, appendix)
    "ace": "ace_Latn",
    "ban": "ban_Latn",
    "bjn": "bjn_Latn",
    "bug": "bug_Latn",
    "jav": "jav_Latn",
    "mad": "ind_Latn",
    "min": "min_Latn",
    "nij": "ind_Latn",
    "sun": "sun_Latn",
    "ind": "ind_Latn",
    "en": "eng_Latn",
    "eng": "eng_Latn",
}
"""Study's code -> FLORES-200's. Without Toba Batak (bbc) of NusaX: NLLB does not cover it, and the paper drops it."""


def flores(language: str) -> str:
    """NLLB's code of a language. Raises KeyError for one that is not in the table."""
    if language in world.LANGUAGES or language == world.SOURCE:
        return world.flores(language)
    return FLORES[language]


def flores_code(language: str) -> str:
    """Return the FLORES-200 code of a language by any name or code; "" if it has none."""
    try:
        return flores(language)
    except KeyError:
        code = code_of(language) or language
        return code if is_code(code) else ""


def substitution(languages: Iterable[str]) -> str | None:
    """Return a sentence on languages that are translated as another one, which has a code; None without any."""
    substitutes = [
        f"{english_name(language)} ({language}) as {english_name(FLORES[language])} ({FLORES[language]})"
        for language in dict.fromkeys(languages)
        if language in FLORES and code_of(language) != FLORES[language]
    ]
    if not substitutes:
        return None
    return f"translated as another language, having no code in NLLB-200: {', '.join(substitutes)}"
