"""Fields that name a checkpoint: a path is made absolute and must be there, a hub id is looked up when needed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, NoReturn

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from flare_ray import registry
from flare_ray.plan.checkpoints import CONFIG, SANDBOX, TRANSLATORS, check_folder, is_local, local_path
from flare_ray.plan.read_file import Unreadable
from flare_ray.plan.storage import check_path
from flare_ray.sandbox import world

_HUB_ID = re.compile(r"([A-Za-z0-9_][\w.-]{0,95}/)?[A-Za-z0-9_][\w.-]{0,95}(@[\w./-]{1,200})?", re.ASCII)
"""A hub id, with a revision (branch, tag, commit) or without."""


def absolute(reference: str) -> str:
    """Workers run in folders of their own: a path is made absolute where the sweep is read."""
    if not is_local(reference):
        if reference != "sandbox" and not reference.startswith(SANDBOX) and not _HUB_ID.fullmatch(reference):
            _refuse(f"a path, or a hub id org/name, of letters, digits, - _ .{_remedy(reference)}")
        return reference
    try:
        check_path(reference)
    except ValueError as error:
        _refuse(str(error))
    return str(local_path(reference))


def _remedy(reference: str) -> str:
    return "; variables are not expanded in a sweep file" if "$" in reference else ""


def no_sandbox_model(reference: str) -> str:
    """Data of the sandbox are named `sandbox` alone."""
    if reference.startswith(SANDBOX):
        _refuse("sandbox, a local folder, or a hub dataset id")
    return reference


def known_checkpoint(reference: str) -> str:
    """A local checkpoint must be there and whole enough to be read; a hub id is looked up when it is needed."""
    if reference.startswith(SANDBOX):
        _check_sandbox(reference, world.MODELS)
    elif is_local(reference):
        folder = local_path(reference)
        if not os.path.lexists(folder / CONFIG):
            _refuse(
                "a folder with a Hugging Face checkpoint (config.json, weights, tokenizer), or a hub id org/name"
            )
        try:
            check_folder(folder)
        except Unreadable as error:
            context = {"found": error.found, "wanted": error.wanted}
            raise PydanticCustomError("reference", "{wanted}", context) from error
    return reference


def _check_sandbox(reference: str, models: Iterable[str]) -> None:
    name = reference.removeprefix(SANDBOX)
    if name not in models:
        _refuse(registry.wanted(reference, [SANDBOX + model for model in models]))


def _refuse(wanted: str) -> NoReturn:
    raise PydanticCustomError("reference", "{wanted}", {"wanted": wanted})


def known_translator(reference: str, others: Sequence[str] = ()) -> str:
    """A translation model that the package knows, a hub id, or a folder that is there.

    others: what may stand in its place, for the message.
    """
    if reference in TRANSLATORS or "/" in reference:
        return known_checkpoint(reference)
    if reference.startswith(SANDBOX):
        _check_sandbox(reference, world.TRANSLATORS)
        return reference
    wanted = f"{registry.wanted(reference, TRANSLATORS)}; or {', '.join(['a hub id org/name', 'a folder', *others])}"
    _refuse(wanted)


CORPORA = ("gold", "files")
"""What may stand in a sweep file in a translation model's place."""
Reference = Annotated[str, Field(min_length=1), AfterValidator(absolute)]
Data = Annotated[Reference, AfterValidator(no_sandbox_model)]
Checkpoint = Annotated[Reference, AfterValidator(known_checkpoint)]
Encoder = Annotated[Reference, AfterValidator(known_translator)]
TranslationModel = Annotated[Reference, AfterValidator(partial(known_translator, others=CORPORA))]
CorpusOrModel = Annotated[
    Reference, AfterValidator(lambda name: name if name in CORPORA else known_translator(name, CORPORA))
]
