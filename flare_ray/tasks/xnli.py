r"""XNLI: does a premise entail a hypothesis? Human-translated dev and test of 15 languages; train is MultiNLI,
machine-translated.

Conneau et al., 2018 (https://aclanthology.org/D18-1269); https://huggingface.co/datasets/facebook/xnli.
392,702/2,490/5,010 rows; row k is the same item in every language, so its place is its id. The Spanish `test-0`:

    Bien, ni estaba pensando en eso, pero estaba tan frustrada y empecé a hablar con él de nuevo.\t
    No he vuelto a hablar con él.\t2

A folder holds one file per language and split (`sw.dev.tsv`; two languages side by side in `en_my.dev.tsv`), or the
original release: `xnli.{dev,test}.tsv` with all languages and `multinli.train.<language>.tsv`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import is_local
from flare_ray.tables.reader import Record, absent_columns, first_of, header, records
from flare_ray.tasks._classification import Classification
from flare_ray.tasks._folders import SPLIT_NAMES, below, named_files, only
from flare_ray.tasks._hub import hub_rows
from flare_ray.tasks._rows import Row
from flare_ray.tasks.base import SANDBOX, SPLITS, Hyperparameters, Part

_PAIR = "pairID"
_SUFFIXES = (".tsv", ".jsonl")
_EVERY_SUFFIX = (*_SUFFIXES, ".csv", ".parquet", ".json")
_SYNONYMS = {
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "hypo", "sentence2"),
    "label": ("label", "gold_label"),
}


class XNLI(Classification):
    """Accuracy over entailment, neutral, contradiction."""

    name = "xnli"
    hub = "facebook/xnli"
    languages: ClassVar[dict[str, str]] = {
        "ar": "arabic",
        "bg": "bulgarian",
        "de": "german",
        "el": "greek",
        "es": "spanish",
        "fr": "french",
        "hi": "hindi",
        "ru": "russian",
        "sw": "swahili",
        "th": "thai",
        "tr": "turkish",
        "ur": "urdu",
        "vi": "vietnamese",
        "zh": "chinese",
    }
    labels = ("entailment", "neutral", "contradiction")
    spellings: ClassVar[dict[str, str]] = {
        **{name: name for name in labels},
        "0": "entailment",
        "1": "neutral",
        "2": "contradiction",
        "contradictory": "contradiction",
    }
    text_columns = ("premise", "hypothesis")
    metric = "accuracy"

    def hyperparameters(self, architecture: str) -> Hyperparameters:
        """Table 5: 10 epochs for encoders and encoder-decoders, 3 for decoders."""
        return Hyperparameters(3 if architecture == "decoder" else 10, 64, 2e-5, 128)

    def prompt(self, row: Row) -> str:
        """`Premise:…`, newline, `Hypothesis:…`, newline, `Label: `."""
        return f"Premise:{row['premise']}\nHypothesis:{row['hypothesis']}\nLabel: "

    def part(self, folder: Path, language: str, split: str) -> Part | None:
        """The language's own file, else one that it shares side by side, else the original release's.

        The usual names and formats go before others: what is added to a folder changes nothing that was read.
        """
        usual = self._named(folder, split, _SUFFIXES, self.usual_names(language))
        result = Part(usual) if usual else self._original(folder, language, split)
        if result is None and (file := self._named(folder, split, _EVERY_SUFFIX, self.aliases(language))):
            result = Part(file)
        return result

    def _named(self, folder: Path, split: str, suffixes: Sequence[str], names: Sequence[str]) -> Path | None:
        """Return the file of a split that is called by one of these names, alone or beside another language."""
        own_names = [entry for entry in named_files(folder, suffixes) if entry.split == split]
        file = only(
            entry.file for entry in own_names if entry.language in names and self._meant(entry.file, names)
        )
        return file or only(entry.file for entry in own_names if _beside(entry.file, entry.language, names))

    def _meant(self, file: Path, names: Sequence[str]) -> bool:
        """Return whether a file of another format than the usual ones is for this task."""
        return file.suffix in _SUFFIXES or self.fits(file, names[0])

    def fits(self, file: Path, language: str) -> bool:
        """Return whether a file has columns for premise and hypothesis; one that cannot be read may have them."""
        try:
            columns = header(file)
        except InputError:
            return True
        names = self.aliases(self.code(language))
        return all(_column(columns, role, names) for role in self.text_columns)

    def usual_file(self, language: str, split: str) -> str:
        """`sw.dev.tsv`."""
        code = "en" if language == self.source_language else language
        return f"{code}.{SPLIT_NAMES[split][0]}.tsv"

    def translation_names(self, part: Part, language: str, split: str) -> list[str]:
        """As the split's file, or by language beside a file with all of them."""
        own = [f"{alias}.{name}" for alias in self.aliases(language) for name in SPLIT_NAMES[split]]
        shared = part.file.name.startswith("xnli.")
        return own if shared or part.file.stem in own else [part.file.stem, *own]

    def languages_in(self, folder: Path) -> Iterable[str]:
        """Languages of test files; the original release has all of the table's."""
        result = []
        for entry in named_files(folder, _EVERY_SUFFIX):
            if (
                entry.split == "test"
                and entry.language != "xnli"
                and self._meant(entry.file, [entry.language])
            ):
                parts = [
                    part for part in entry.language.split("_") if _beside(entry.file, entry.language, [part])
                ]
                result += parts or [entry.language]
        if self._original(folder, self.source_language, "test"):
            result += self.languages
        return result

    def file_rows(self, file: Path, language: str, split: str, *, labelled: bool = True) -> Iterator[Row]:
        """The language's columns and, of a file with all languages, its lines.

        The id is the row's `pairID`, else its place among the language's lines; the original release numbers its
        rows, so both are the same there. A translation's rows have no id: they pair by place.
        """
        columns = header(file)
        names = self.aliases(language)
        chosen = {role: _column(columns, role, names) for role in _SYNONYMS}
        absent = [role for role in chosen if chosen[role] is None and (labelled or role != "label")]
        if absent:
            raise absent_columns(file, columns, absent)
        place, first = 0, self._first_pair(file, language, split) if labelled else None
        for record in records(file):
            if _of_another(file, record, columns, names):
                continue
            row_id = _row_id(split, place, record, first) if labelled else None
            place += 1
            if "broken" in record:
                yield {"id": row_id, "broken": record["broken"]}
            else:
                yield {
                    "id": row_id,
                    **{role: record.get(column) for role, column in chosen.items() if column},
                }

    def has_ids(self, file: Path) -> bool:
        """Whether its rows have a `pairID`."""
        return _PAIR in header(file)

    def identity(self, source: str, language: str) -> dict[str, Any]:
        """Also whether rows pair by a `pairID` that is not their place: they paired by place once."""
        result = super().identity(source, language)
        if source != SANDBOX and is_local(source):
            parts = [self.part(self._folder(source), language, split) for split in SPLITS]
            ids = [_pair_ids(part.file) for part in parts if part]
            own_names = ("", *self.aliases(language))
            if any(not entry.in_order for some in ids for key, entry in some.items() if key in own_names):
                result["pairs"] = _PAIR
            moved = {
                split: own.first - first
                for split, part in zip(SPLITS, parts, strict=True)
                if part and (own := _ids_of(part.file, own_names)) and own.first is not None
                if (first := self._first_pair(part.file, language, split)) is not None and first != own.first
            }
            if moved:
                result["pairs_moved"] = moved
        return result

    def _first_pair(self, file: Path, language: str, split: str) -> int | None:
        """Return the `pairID` that ids are counted from; None where ids are no numbers.

        It is English's where a language has other rows than English, such as a subset without the first row; else
        the language's own least.
        """
        own = _ids_of(file, ("", *self.aliases(language)))
        if own is None or own.first is None or language == self.source_language:
            return own.first if own else None
        names = self.aliases(self.source_language)
        english = _ids_of(file, names)
        if english is None:
            try:
                part = self.part(file.parent, self.source_language, split)
                english = _ids_of(part.file, ("", *names)) if part else None
            except InputError:  # reported as English is read
                english = None
        return own.first if english is None or not own.overlaps(english) else english.first

    def hub_rows(self, reference: str, language: str, split: str) -> Iterator[Row]:
        """A config per language code; the place in the split is the id."""
        config = "en" if language == self.source_language else language
        for place, row in enumerate(hub_rows(reference, config, split, (*self.text_columns, "label"))):
            yield {**row, "id": f"{split}-{place}"}

    def _original(self, folder: Path, language: str, split: str) -> Part | None:
        """XNLI-1.0's `xnli.{dev,test}` for the languages it has, XNLI-MT-1.0's `multinli.train.<language>`."""
        if language not in (self.source_language, *self.languages):
            return None
        stems = [f"xnli.{SPLIT_NAMES[split][0]}"]
        if split == "train":
            stems = [f"multinli.train.{name}" for name in self.aliases(language)]
        files = (below(folder, stem + suffix) for stem in stems for suffix in _SUFFIXES)
        return next((Part(file) for file in files if file), None)


def _row_id(split: str, place: int, record: Record, first: int | None) -> str:
    """The id of a row: its `pairID`, a number counted from `first`, else its place; both from 0."""
    pair = str(record.get(_PAIR) or "").strip()
    if first is not None:
        return f"{split}-{int(pair) - first if pair.isdecimal() else place}"
    return f"{split}-{pair or place}"


@dataclass
class _PairIds:
    """The `pairID`s of one language in a file. first, last: the least and the greatest, None if one is no number.

    next: what the next row has where they are in order.
    """

    first: int | None
    next: int
    in_order: bool = True
    count: int = 0
    last: int = -1

    def add(self, pair: str) -> None:
        """Note the next row's."""
        number = int(pair) if pair.isascii() and pair.isdecimal() else None
        self.in_order = self.in_order and number == self.next
        self.next += 1
        self.count += 1
        self.last = self.last if number is None else max(number, self.last)
        self.first = None if number is None or self.first is None else min(number, self.first)

    def overlaps(self, english: _PairIds) -> bool:
        """Return whether these number rows as English's do, and not all of them: in equal files the place is safe."""
        if self.first is None or english.first is None:
            return False
        same = self.in_order and english.in_order and self.count == english.count
        return not same and self.first <= english.last and english.first <= self.last


def _ids_of(file: Path, languages: Sequence[str]) -> _PairIds | None:
    """Return the `pairID`s of the first of these languages that a file has; None without them."""
    return next((entry for key, entry in _pair_ids(file).items() if key in languages), None)


def _pair_ids(file: Path) -> dict[str, _PairIds]:
    """The `pairID`s of a file by its rows' `language`, "" where it has no such column; none without `pairID`s."""
    return _read_pair_ids(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read_pair_ids(file: Path, changed: int) -> dict[str, _PairIds]:
    if _PAIR not in header(file):
        return {}
    result: dict[str, _PairIds] = {}
    for record in records(file):
        language, pair = str(record.get("language") or ""), str(record.get(_PAIR) or "").strip()
        if language not in result:
            first = int(pair) if pair.isascii() and pair.isdecimal() else None
            result[language] = _PairIds(first, first or 0)
        result[language].add(pair)
        if set(result) == {""} and result[""].first is None:  # no numbers: nothing to be counted from
            break
    return result


def _column(columns: Sequence[str], role: str, languages: Sequence[str]) -> str | None:
    """The column of a text: the language's own (`sentence1_sw`) before one without a language (`sentence1`)."""
    own = [f"{name}_{language}" for name in _SYNONYMS[role] for language in languages]
    return first_of(columns, own) or first_of(columns, _SYNONYMS[role])


def _of_another(file: Path, record: Record, columns: Sequence[str], languages: Sequence[str]) -> bool:
    """Whether a line of a file with all languages is another language's; each line must say whose it is."""
    if "language" not in columns:
        return False
    if not record.get("language"):
        result = f"{file}: {record.get('broken', 'a line')} without its language"
        raise InputError(
            str(file), [Problem("", result, "a language in each line, since rows pair by place")]
        )
    return record["language"] not in languages


def _beside(file: Path, name: str, languages: Sequence[str]) -> bool:
    """Whether a file called `en_my.…` holds one of these languages beside another, in columns of its own."""
    both = name.split("_")
    if len(both) < 2 or not set(both) & set(languages):
        return False
    columns = header(file)
    return all(any(f"{first}_{entry}" in columns for first in _SYNONYMS["premise"]) for entry in both)


TASK = XNLI()
