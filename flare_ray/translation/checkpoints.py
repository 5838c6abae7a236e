"""The codes by which NLLB models know the study's languages (FLORES-200)."""

from __future__ import annotations

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
