"""What can be told about a translation model before it is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from flare_ray.core.languages import NLLB, code_of
from flare_ray.errors import InputError, Problem
from flare_ray.loading import load_tokenizer
from flare_ray.models.base import origin
from flare_ray.plan.checkpoints import TRANSLATORS, is_local, translator
from flare_ray.plan.schema import Translation
from flare_ray.sandbox import world
from flare_ray.translation.checkpoints import FLORES


def language_problems(translation: Translation, languages: Iterable[str], where: str) -> list[Problem]:
    """Languages that the model does not know. A hub id of another name is believed: its tokenizer is not here yet."""
    checkpoint = translator(translation.model)
    if is_local(checkpoint):
        return _unknown_to_tokenizer(checkpoint, languages, where)
    if translation.model not in TRANSLATORS and "nllb" not in checkpoint.lower():
        return []
    sandbox = translation.model in world.TRANSLATORS
    known = (
        f"a language of the sandbox ({', '.join(world.LANGUAGES)})"
        if sandbox
        else f"{', '.join(FLORES)}, or one of NLLB-200's {len(NLLB)} codes of FLORES-200"
    )
    return [
        Problem(
            where,
            f"{code!r}, which {translation.model} does not know",
            known + ("" if sandbox else _nearest(code)),
        )
        for code in languages
        if not _in_flores(code, sandbox)
    ]


def _in_flores(code: str, sandbox: bool) -> bool:
    if sandbox:
        return code in (*world.LANGUAGES, "eng")
    return code in FLORES or code in NLLB


def _nearest(name: str) -> str:
    """Return, for an error, the codes that a name may stand for."""
    code = code_of(name)
    near = [code] if code in NLLB else difflib.get_close_matches(name, sorted(NLLB), 3, 0.7)
    return f"; the nearest: {', '.join(near)}" if near else ""


def _unknown_to_tokenizer(checkpoint: str, languages: Iterable[str], where: str) -> list[Problem]:
    from flare_ray.translation.backends.codes import codes_of

    try:
        codes = codes_of(load_tokenizer(**origin(checkpoint)))
    except InputError as error:
        return [Problem(where, one.found, one.wanted) for one in error.problems]
    except (OSError, ValueError, ImportError) as error:
        return [Problem(where, f"{checkpoint}: {error}", "a checkpoint with a tokenizer that can be loaded")]
    problems: list[Problem] = []
    for code in languages if codes.tokens else ():
        try:
            codes.code(code)
        except InputError as error:
            problems += [Problem(where, one.found, one.wanted) for one in error.problems]
    return problems
