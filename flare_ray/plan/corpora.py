"""Machine-translated splits: which a run reads, and what determines each.

A method that trains reads the English train and validation rows translated into the target; one that reads English
at test reads the test rows translated into English (paper, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flare_ray import registry
from flare_ray.plan.checkpoints import checkpoint_identity, translator
from flare_ray.plan.fingerprint import Identified, fingerprint
from flare_ray.plan.schema import Translation

CORPUS_VERSION = "1"
"""Bumped by hand when a change of code changes what is translated and how it is put together."""
TRANSLATION_VERSION = "1"
"""The same for what becomes of a single text: how it is cut, decoded and flagged."""


@dataclass(frozen=True)
class Corpus(Identified):
    """One translated split of a task.

    language: the target language. split: train or validation, English rows in that language; or test, its rows in
    English. translator: what the translation model is loaded with; answers: how answers are found again.
    """

    task: str
    data: str
    language: str
    split: str
    translator: dict[str, Any] = field(hash=False)
    answers: dict[str, Any] = field(hash=False)
    identity: dict[str, Any] = field(hash=False)
    max_dropped: float = 0.01
    limit: int | None = None
    """Rows that are translated, the first ones; None for all."""

    @property
    def into_english(self) -> bool:
        """Whether it is read from the target language."""
        return self.split == "test"

    @property
    def translator_key(self) -> str:
        """By which translations of single texts are known, whatever corpus they belong to."""
        return fingerprint(self.identity["translator"])

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.task}/{self.language}/{self.split} by {self.translator['model']}"


def wanted(trains: bool, source_at_test: str, reads_source: bool) -> list[str]:
    """Splits that a method reads in translation."""
    trained = ["train", "validation"] if trains else []
    return trained + (["test"] if reads_source and source_at_test == "translation" else [])


def corpus(
    task_name: str,
    data: str,
    language: str,
    split: str,
    translation: Translation,
    identity_of: Callable[[str], Any] = checkpoint_identity,
    max_dropped: float = 0.01,
    limit: int | None = None,
) -> Corpus:
    """A split in translation. identity_of: what determines a checkpoint. limit: rows; None for all."""
    task = registry.load("tasks", task_name)
    loaded, known = translator_identity(translation, identity_of)
    asks = task.kind == "question_answering"
    answers = translation.model_dump(include={"markers", "answer_alone"}) if asks else {}
    identity = {
        "kind": "corpus",
        "version": CORPUS_VERSION,
        "task": task_name,
        "split": split,
        "language": language,
        "rows": task.split_identity(data, language if split == "test" else task.source_language, split),
        "translator": known,
        "answers": answers,
    }
    if limit is not None:
        identity["limit"] = limit
    return Corpus(task_name, data, language, split, loaded, answers, identity, max_dropped, limit)


def translator_identity(
    translation: Translation, identity_of: Callable[[str], Any] = checkpoint_identity
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a translator is loaded with, and what determines its translations."""
    checkpoint = translator(translation.model)
    decoding = translation.model_dump(include={"backend", "beams", "max_length", "precision"})
    if translation.split != "none":
        decoding["split"] = translation.split
    loaded = {"model": translation.model, "checkpoint": checkpoint, **decoding}
    if translation.round_trip:
        loaded["round_trip"] = translation.round_trip
    return loaded, {"version": TRANSLATION_VERSION, "checkpoint": identity_of(checkpoint), **decoding}
