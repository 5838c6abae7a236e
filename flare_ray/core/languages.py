"""Languages by the codes of FLORES-200, with every other name that files, sweeps and checkpoints give them.

>>> FLORES["bjn_Latn"]
'Banjar (Latin script)'
>>> code_of("banjarese"), code_of("bjn"), code_of("zh-CN"), code_of("xyz_Latn")
('bjn_Latn', 'bjn_Latn', 'zho_Hans', None)
>>> names_of("sw")
('sw', 'swh', 'swa', 'swahili', 'swh_latn')
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from importlib import resources

OTHERS = {
    "mad": ("Madurese", ("mad", "madurese")),
    "nij": ("Ngaju", ("nij", "ngaju", "ngaju dayak")),
    "bbc": ("Toba Batak", ("bbc", "toba_batak", "toba batak")),
}
"""Languages of NusaX without a FLORES-200 code: ISO 639-3 code -> English name and all names."""
_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


def _read() -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Read the table of codes: code -> English name, and code -> all names in lower case."""
    table = resources.files("flare_ray.core").joinpath("flores200.csv").read_text(encoding="utf-8")
    english_names: dict[str, str] = {}
    all_names: dict[str, tuple[str, ...]] = {}
    for row in csv.DictReader(table.splitlines()):
        code, name = row["code"], row["name"]
        names = [*sorted(row["other_names"].split(), key=lambda other: len(other) != 2), name.lower()]
        english_names[code] = name
        all_names[code] = tuple(dict.fromkeys([*names, code.lower()]))
    return english_names, all_names


FLORES: Mapping[str, str]
"""The 204 codes of FLORES-200 -> English names, as its README lists them."""
_NAMES: Mapping[str, tuple[str, ...]]
FLORES, _NAMES = _read()
NLLB: frozenset[str] = frozenset({*FLORES, "sat_Beng"} - {"arb_Latn", "min_Arab", "sat_Olck"})
"""The 202 codes of NLLB-200's tokenizers: they write Santali's code differently and lack two of the dataset's."""
_ALL_NAMES = {**_NAMES, **{code: names for code, (_, names) in OTHERS.items()}}
_CODES = {name: code for code, names in _ALL_NAMES.items() for name in names}


def code_of(name: str) -> str | None:
    """Return the FLORES-200 code of a language given by any name or code, in any case.

    A language of OTHERS has its ISO 639-3 code. None for a name that is not known.
    """
    return _CODES.get(name.strip().lower())


def names_of(name: str) -> tuple[str, ...]:
    """Return every name of the language that has this name, in lower case, its two-letter code first.

    A name that is not known stands for itself alone.
    """
    code = code_of(name)
    return _ALL_NAMES[code] if code else (name.lower(),)


def english_name(name: str) -> str:
    """Return the English name of a language given by any name or code; the given name if it is not known."""
    code = code_of(name)
    if code is None:
        return name
    return OTHERS[code][0] if code in OTHERS else FLORES[code]


def is_code(text: str) -> bool:
    """Report whether a text has the form of a FLORES-200 code, whether or not there is such a language."""
    return _CODE.fullmatch(text) is not None


def script_of(code: str) -> str:
    """Return the ISO 15924 script of a FLORES-200 code: "Latn" of "swh_Latn"."""
    return code.partition("_")[2]
