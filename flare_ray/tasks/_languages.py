"""Every name that a language may have in file names and sweeps: English names, ISO 639 and FLORES-200 codes."""

from __future__ import annotations

from functools import cache

from flare_ray.core.languages import code_of, names_of


@cache
def all_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a language's names, then its further ones, in lower case and as codes and names are usually written."""
    code = next((code for name in names if (code := code_of(name))), None)
    if code is None:
        return names
    every = [*names, *names_of(code), code]
    written = [name.upper() if len(name) < 4 else name.capitalize() for name in every]
    return tuple(dict.fromkeys([*every, *written]))


def known_as(name: str, languages: tuple[str, ...]) -> str:
    """Return the one of these languages that a name stands for, in any case; the name itself if none does."""
    code = code_of(name)
    return next((one for one in languages if code is not None and code_of(one) == code), name)
