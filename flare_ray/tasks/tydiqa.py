"""TyDiQA-GoldP: questions asked by speakers of each language, answered by a span of a Wikipedia passage.

Clark et al., 2020 (https://aclanthology.org/2020.tacl-1.30), gold passage task;
https://huggingface.co/datasets/google-research-datasets/tydiqa (secondary_task). A row of swahili.dev.json:

    {"question": "Je,Thiago Silva alianza kucheza soka mwaka upi?",
     "answers": [{"text": "1999", "answer_start": 365}], "id": "swahili--8211684794284159625-4"}

The release's dev is the test, and it has no validation: a fixed tenth of train is held out, chosen by the passages'
hash, so that no passage is in both (the paper's released code selects no checkpoint at all). Its languages are not
translations of one another, so an English row beside a target's can only be a translation of it. A folder holds
`swahili.{train,dev,test}.json`, or the release's `tydiqa-goldp-v1.1-{train,dev}.json`, or `xquad.ar.json`, parallel,
split 70/10/20 by passage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.tasks._folders import SPLIT_NAMES, Named, below, named_files, only
from flare_ray.tasks._hub import hub_rows
from flare_ray.tasks._question_answering import QuestionAnswering
from flare_ray.tasks._rows import Row
from flare_ray.tasks._squad import answers_of, questions
from flare_ray.tasks.base import SANDBOX, Hyperparameters, Part

_EVERY_SUFFIX = (".json", ".jsonl", ".parquet", ".csv", ".tsv")
_RELEASE = {"train": "train", "validation": "train", "test": "dev"}
_HELD_OUT = {"train": range(10, 100), "validation": range(10)}
_BY_PASSAGE = {"validation": "by passage"}
_XQUAD = {"train": range(70), "validation": range(70, 80), "test": range(80, 100)}


class TyDiQA(QuestionAnswering):
    """Exact match over eight languages."""

    name = "tydiqa"
    hub = "google-research-datasets/tydiqa"
    languages: ClassVar[dict[str, str]] = {
        "ar": "arabic",
        "bn": "bengali",
        "fi": "finnish",
        "id": "indonesian",
        "ko": "korean",
        "ru": "russian",
        "sw": "swahili",
        "te": "telugu",
    }
    also_called: ClassVar[dict[str, tuple[str, ...]]] = {"bn": ("ben",), "id": ("ind",), "te": ("tel",)}

    def hyperparameters(self, architecture: str) -> Hyperparameters:
        """Table 5: 10 epochs for encoders and encoder-decoders, 3 for decoders."""
        return Hyperparameters(3 if architecture == "decoder" else 10, 64, 2e-4, 512)

    def part(self, folder: Path, language: str, split: str) -> Part | None:
        """The language's own files, else XQuAD's, else the release's."""
        names = self.usual_names(language)
        own_files = [entry for entry in named_files(folder, (".json",)) if entry.language in names]
        if own_files:
            return _own_part(own_files, split)
        xquad = only(file for name in names if (file := folder / f"xquad.{name}.json").is_file())
        if xquad:
            passages = _passages(xquad)
            return Part(xquad, lambda row: _place(passages[row["id"]]) in _XQUAD[split])
        result = self._release_part(folder, language, split)
        return result or _own_part(self._further_files(folder, language), split)

    def _further_files(self, folder: Path, language: str) -> list[Named]:
        """Return a language's files in other formats or under other names than the usual ones."""
        names = self.aliases(language)
        own_files = [entry for entry in named_files(folder, _EVERY_SUFFIX) if entry.language in names]
        return [entry for entry in own_files if self.fits(entry.file, language)]

    def usual_file(self, language: str, split: str) -> str:
        """`swahili.train.json`."""
        return f"{self.folder_name('', language)}.{_RELEASE[split]}.json"

    def translation_names(self, part: Part, language: str, split: str) -> list[str]:
        """As the split's file, or by language beside the release's."""
        if not part.file.name.startswith("tydiqa-goldp"):
            return [part.file.stem]
        return [f"{name}.{_RELEASE[split]}" for name in self.aliases(language)]

    def languages_in(self, folder: Path) -> Iterable[str]:
        """Languages with a dev or test file of their own; the release has all of the table's."""
        files = [entry for entry in named_files(folder, _EVERY_SUFFIX) if entry.split != "train"]
        result = [
            entry.language
            for entry in files
            if entry.file.suffix == ".json" or self.fits(entry.file, entry.language)
        ]
        result += [
            file.name.split(".")[1] for file in folder.glob("xquad.*.json") if file.name.count(".") == 2
        ]
        every = (self.source_language, *self.languages)
        return result + [code for code in every if self._release_part(folder, code, "test")]

    def file_rows(self, file: Path, language: str, split: str, *, labelled: bool = True) -> Iterator[Row]:
        """The language's rows; of a release file with all languages, those whose id begins with its name."""
        rows = self.answered(file, labelled=labelled)
        if not file.name.startswith("tydiqa-goldp-v"):
            return rows
        prefix = self._prefix(language)
        return (row for row in rows if row["id"].startswith(prefix))

    def hub_rows(self, reference: str, language: str, split: str) -> Iterator[Row]:
        """All languages lie in one set; the id's prefix tells them apart."""
        prefix = self._prefix(language)
        there = "validation" if split == "test" else "train"
        for row in hub_rows(reference, "secondary_task", there, ("id", *self.text_columns, "answers")):
            held_out = split == "test" or _place(row["context"]) in _HELD_OUT[split]
            if row["id"].startswith(prefix) and held_out:
                yield {**row, "answers": answers_of(row["answers"])}

    def identity(self, source: str, language: str) -> dict[str, Any]:
        """Return also how train and validation of one file are parted: by question, before this was part of it."""
        known = super().identity(source, language)
        if source == SANDBOX or (is_local(source) and not self._holds_out(local_path(source), language)):
            return known
        return known | _BY_PASSAGE

    def split_identity(self, source: str, language: str, split: str) -> dict[str, Any]:
        """Return what determines one split's rows; the test is whole, however the others are parted."""
        known = self.identity(source, language)
        return {name: known[name] for name in known if split != "test" or name not in _BY_PASSAGE}

    def _holds_out(self, folder: Path, language: str) -> bool:
        """Return whether a language's validation is a part of its train file."""
        part = self.part(folder, language, "validation")
        return part is not None and part.belongs is not None and not part.file.name.startswith("xquad.")

    def _prefix(self, language: str) -> str:
        return f"{self.folder_name('', language)}-"

    def _release_part(self, folder: Path, language: str, split: str) -> Part | None:
        """`tydiqa-goldp-v1.1-{train,dev}.json`, or the archive's `tydiqa-goldp-dev-<language>.json`."""
        if language not in (self.source_language, *self.languages):
            return None
        wanted = _RELEASE[split]
        of_language = f"tydiqa-goldp-{wanted}-{self.folder_name('', language)}.json"
        file = below(folder, of_language) or below(folder, f"tydiqa-goldp-v1.1-{wanted}.json")
        return _shared(file, split) if file else None


def _own_part(files: Sequence[Named], split: str) -> Part | None:
    """With a test file each split has its own; without one dev is the test, and train gives the validation."""
    own = {name: only(entry.file for entry in files if entry.split == name) for name in SPLIT_NAMES}
    train, dev, test = own["train"], own["validation"], own["test"]
    if test and (dev or split == "test"):
        return Part(file) if (file := own[split]) else None
    file = (test or dev) if split == "test" else train
    return _shared(file, split) if file else None


def _shared(file: Path, split: str) -> Part:
    """A file whose tenth is the validation, unless it is the test."""
    if split == "test":
        return Part(file)
    return Part(file, lambda row: _place(row.get("context")) in _HELD_OUT[split])


@cache
def _passages(file: Path) -> dict[str, str]:
    """Question id -> the first question's of the same passage: the same in every language of XQuAD."""
    first: dict[str, str] = {}
    return {row["id"]: first.setdefault(row["context"], row["id"]) for row in questions(file)}


def _place(text: Any) -> int:
    """Return a number from 0 to 99 that only the text (an id or a passage) determines, the same everywhere."""
    content = str(text).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") % 100


TASK = TyDiQA()
