"""Fields that name a checkpoint: a path is made absolute and must be there, a hub id is looked up when needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from flare_ray import registry
from flare_ray.plan.checkpoints import TRANSLATORS, is_local, local_path


def absolute(reference: str) -> str:
    """Workers run in folders of their own: a path is made absolute where the sweep is read."""
    return str(local_path(reference)) if is_local(reference) else reference


def known_checkpoint(reference: str) -> str:
    """A local checkpoint must be there; a hub id is looked up when it is needed."""
    if is_local(reference) and not (local_path(reference) / "config.json").is_file():
        wanted = (
            "a folder with a Hugging Face checkpoint (config.json, weights, tokenizer), or a hub id org/name"
        )
        raise PydanticCustomError("no_checkpoint", "{wanted}", {"wanted": wanted})
    return reference


def known_translator(reference: str, others: Sequence[str] = ()) -> str:
    """A translation model that the package knows, a hub id, or a folder that is there.

    others: what may stand in its place, for the message.
    """
    if reference in TRANSLATORS or "/" in reference:
        return known_checkpoint(reference)
    wanted = f"{registry.wanted(reference, TRANSLATORS)}; or {', '.join(['a hub id org/name', 'a folder', *others])}"
    raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})


CORPORA = ("gold", "files")
"""What may stand in a sweep file in a translation model's place."""
Reference = Annotated[str, Field(min_length=1), AfterValidator(absolute)]
Checkpoint = Annotated[Reference, AfterValidator(known_checkpoint)]
Encoder = Annotated[Reference, AfterValidator(known_translator)]
TranslationModel = Annotated[Reference, AfterValidator(partial(known_translator, others=CORPORA))]
CorpusOrModel = Annotated[
    Reference, AfterValidator(lambda name: name if name in CORPORA else known_translator(name, CORPORA))
]
