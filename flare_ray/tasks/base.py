"""What a task is: its languages, where its rows come from, how they are asked and how predictions are scored.

Every split of every language is one memory-mapped table with the columns `id` (string, the same for the rows that
are translations of one another), the task's text columns, and `label` (a label's name) or `answers` (a list of
text and start, a code point's offset into the context). Predictions are strings everywhere, so heads and
generations are scored by the same code; None stands for a generation that could not be read.

A task is one file that fills in `Classification` or `QuestionAnswering`; it says where a folder keeps a split
(`part`), how a file's rows are read (`file_rows`) and what the hub calls them (`hub_rows`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import files_digest, is_local, local_path
from flare_ray.plan.english import PAIRED, Reads
from flare_ray.sandbox import world
from flare_ray.store import shelf
from flare_ray.tables.reader import header
from flare_ray.tasks._languages import Languages
from flare_ray.tasks._limit import first_rows
from flare_ray.tasks._reading import reading_marks
from flare_ray.tasks._rows import Row, Rows, Unusable, cached, cached_file, file_name, opened, rows_key
from flare_ray.tasks._sandbox import built_sandbox
from flare_ray.tasks._spelled_tokens import spelled_tokens
from flare_ray.tasks._translations import beside, merged
from flare_ray.tasks._unread import unread_beside

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SANDBOX", "SPLITS", "Hyperparameters", "Kind", "Part", "Row", "Rows", "Task", "Unusable"]

SPLITS = ("train", "validation", "test")
SANDBOX = "sandbox"
Kind = Literal["classification", "question_answering"]


@dataclass(frozen=True)
class Hyperparameters:
    """Table 5 of the paper: epochs, instances per step, peak learning rate, tokens per sequence."""

    epochs: int
    batch_size: int
    learning_rate: float
    max_length: int


@dataclass(frozen=True)
class Part:
    """Where a folder keeps one split of one language: a file and which of its rows (None: all)."""

    file: Path
    belongs: Callable[[Row], bool] | None = None


class Task(Languages):
    """One benchmark. A subclass says where a language's files are and how they are read."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    hub: ClassVar[str]
    """Dataset id on the Hugging Face hub, used when the sweep names no data."""
    labels: ClassVar[tuple[str, ...]] = ()
    """Names of the classes; empty for question answering."""
    text_columns: ClassVar[tuple[str, ...]]
    metric: ClassVar[str]
    """The metric that selects checkpoints and fills the tables, in points (0 to 100)."""

    @abstractmethod
    def hyperparameters(self, architecture: str) -> Hyperparameters:
        """Table 5's values for models of this architecture: encoder, encoder_decoder or decoder."""

    @abstractmethod
    def part(self, folder: Path, language: str, split: str) -> Part | None:
        """Where a folder keeps one split of a language (a code); None when it has none."""

    @abstractmethod
    def usual_file(self, language: str, split: str) -> str:
        """What the file of a split is called in a folder, to tell what is missing."""

    @abstractmethod
    def file_rows(self, file: Path, language: str, split: str, *, labelled: bool = True) -> Iterator[Row]:
        """A language's rows in one file, in order and before any check; labels or answers only if `labelled`."""

    @abstractmethod
    def hub_rows(self, reference: str, language: str, split: str) -> Iterator[Row]:
        """The same rows from the hub."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Columns of a split's table."""

    @abstractmethod
    def examine(self, row: Row, *, translated: bool = False) -> Row | Unusable:
        """A row as it is kept, or why it cannot be used; of a translation only its texts need to be sound."""

    @abstractmethod
    def prompt(self, row: Row) -> str:
        """What a generating model is given (method.md, Tasks)."""

    @abstractmethod
    def answer(self, row: Row) -> str:
        """What it should generate: the label's name, or the first gold answer's text."""

    @abstractmethod
    def parse(self, generated: str) -> str | None:
        """Generated text as a prediction: a label's name or an answer; None when it names none."""

    def label_name(self, value: Any) -> str | None:
        """Return the name of a label as a file writes it; None for what is no label, or for answers."""
        return None

    @abstractmethod
    def gold(self, table: pa.Table) -> list[tuple[str, ...]]:
        """Per row, all predictions that are right."""

    @abstractmethod
    def score(self, gold: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
        """Metrics in points (0 to 100) over all instances, `unparsed` (share of None) among them."""

    def text_kinds(self, source: str, language: str, form: str, strips_accents: bool) -> list[str]:
        """Return kinds of texts in a language's rows that a form reads otherwise than before, for identities.

        Of rows on the hub, which are not read for this, every kind of decomposed or several-lined text that they
        might have. strips_accents: whether the model's tokenizer may.
        """
        return spelled_tokens(self, source, language)

    def fits(self, file: Path, language: str) -> bool:
        """Return whether a file has the columns of the task's texts; one that cannot be read may have them."""
        try:
            return set(self.text_columns) <= set(header(file))
        except InputError:
            return True

    # ---- where the rows come from

    def identity(self, source: str, language: str) -> dict[str, Any]:
        """What determines the rows of a language: the files' content, never their path."""
        if source == SANDBOX:
            return {"sandbox": world.VERSION, "language": language}
        if is_local(source):
            files = self.files(source, language)
            return {"content": files_digest(files), **reading_marks(files)}
        name, _, revision = source.partition("@")
        return {"hub": name, "revision": revision or "main", "language": language}

    def split_identity(self, source: str, language: str, split: str) -> dict[str, Any]:
        """Return what determines the rows of one split of a language."""
        return self.identity(source, language)

    def translation_identity(self, source: str, language: str, split: str = "test") -> dict[str, Any]:
        """What determines the English beside a split, for what reads it; nothing where `identity` says it."""
        file = None if source == SANDBOX else self.translation_file(source, language, split)
        return {"english": files_digest([file]), **reading_marks([file])} if file else {}

    def files(self, source: str, language: str) -> list[Path]:
        """A language's files in a local source, those of absent splits left out, each once."""
        parts = (self.part(self._folder(source), language, split) for split in SPLITS)
        return list(dict.fromkeys(part.file for part in parts if part))

    def has_ids(self, file: Path) -> bool:
        """Return whether the rows of a file have ids of their own; without, they are known by their places."""
        return True

    def translation_names(self, part: Part, language: str, split: str) -> list[str]:
        """What a translation of this split may be called, without `.english` and suffix."""
        return [part.file.stem]

    def translation_file(self, source: str, language: str, split: str) -> Path | None:
        """The file with a split's English translation, beside the split; None without one."""
        if source != SANDBOX and not is_local(source):
            return None
        part = self.part(self._folder(source), language, split)
        return beside(part.file, self.translation_names(part, language, split)) if part else None

    def read(
        self,
        source: str,
        language: str,
        split: str,
        *,
        max_dropped: float = 0.01,
        limit: int | None = None,
        parallel_to: str = "",
    ) -> Rows:
        """One split of one language, from the sandbox, a folder or the hub: the same columns from each.

        limit: rows, the first ones (_limit.py); parallel_to: the language whose limited rows have these ids. Raises
        InputError when there is no such split, or when more than `max_dropped` of its rows are unusable.
        """
        if source != SANDBOX and not is_local(source):
            origin = f"{source} {language} {split}"
            rows = self._fetched(source, language, split) or self._from_hub(source, language, split)
        else:
            part = self._present(source, language, split)
            origin = str(part.file)
            rows = cached(
                self._key(source, language, split, "rows"),
                self.schema(),
                lambda: (self.examine(row) for row in self._part_rows(part, language, split)),
            )
        rows = rows.check(f"data.{self.name}", origin, max_dropped)
        return first_rows(self, source, parallel_to or language, split, rows, limit)

    def read_translation(
        self, source: str, language: str, split: str, *, max_dropped: float = 0.01, limit: int | None = None
    ) -> Rows | None:
        """English translations of a split's rows from the file beside it, with the ids and labels of those rows.

        None when there is no such file. It has a row for each row of the split in the same order; with ids of its
        own it may lack some.
        """
        file = self.translation_file(source, language, split)
        if file is None:
            return None
        part = self._present(source, language, split)

        def rows() -> Iterator[Row | Unusable]:
            english = self.file_rows(file, self.source_language, split, labelled=False)
            originals = self.file_rows(part.file, language, split)
            for original, row in merged(originals, english, self.text_columns, file, self.label_name):
                if part.belongs is None or part.belongs(original):
                    yield self.examine(row, translated=True)

        kept = cached(self._key(source, language, split, "english"), self.schema(), rows)
        english_rows = kept.check(f"data.{self.name}", str(file), max_dropped)
        return first_rows(self, source, language, split, english_rows, limit)

    def problems(
        self, source: str, languages: Sequence[str], reads: Reads = PAIRED, max_dropped: float = 0.01
    ) -> list[Problem]:
        """Return what is wrong with a local source: absent files, unusable rows, rows beside another row's English.

        reads: the splits that are read in the target languages, and the English that they are read with.
        """
        from flare_ray.tasks._problems import check_rows

        return check_rows(self, source, languages, reads, max_dropped)[0]

    def _folder(self, source: str) -> Path:
        return sandbox_folder() / "data" / self.name if source == SANDBOX else local_path(source)

    def _present(self, source: str, language: str, split: str) -> Part:
        part = self.part(self._folder(source), language, split)
        if part is None or not part.file.is_file():
            absent = self._folder(source) / self.usual_file(language, split)
            wanted = f"the {split} split of {language}"
            got = f"no file {absent}{unread_beside(self, source)}"
            raise InputError(str(absent), [Problem(f"data.{self.name}", got, wanted)])
        return part

    def fetch(self, source: str, language: str, split: str) -> Path:
        """Reads a split from the hub; its file on this machine, for others (store/shelf.py). Raises InputError."""
        self._from_hub(source, language, split)
        file = cached_file(self.fetched_as(source, language, split))
        if file is None:
            raise OSError("rows that were just read are not in the cache; check the disk of FLARE_RAY_CACHE")
        return file

    def fetched_as(self, source: str, language: str, split: str) -> str:
        """The key of a split's rows."""
        return rows_key(self._key(source, language, split, "rows"))

    def _from_hub(self, source: str, language: str, split: str) -> Rows:
        try:
            return cached(
                self._key(source, language, split, "rows"),
                self.schema(),
                lambda: (self.examine(row) for row in self.hub_rows(source, language, split)),
            )
        except ValueError as error:  # of datasets, for a configuration or split that is not there
            raise self._absent(source, language, split, str(error)) from error

    def _fetched(self, source: str, language: str, split: str) -> Rows | None:
        """The rows that were fetched for all nodes; None where they were not."""
        key = self.fetched_as(source, language, split)
        if (folder := shelf.found("rows", key)) is None:
            return None
        if (rows := opened(folder / file_name(key), key)) is None:
            raise self._absent(source, language, split, "there was none when it was fetched")
        return rows

    def _absent(self, source: str, language: str, split: str, found: str) -> InputError:
        name = f"{source}, {language} {split}"
        return InputError(name, [Problem(f"data.{self.name}", f"{name}: {found}", "a split that is there")])

    def _part_rows(self, part: Part, language: str, split: str) -> Iterator[Row]:
        rows = self.file_rows(part.file, language, split)
        return rows if part.belongs is None else (row for row in rows if part.belongs(row))

    def _key(self, source: str, language: str, split: str, what: str) -> dict[str, Any]:
        identity = self.split_identity(source, language, split)
        if what == "english":
            identity |= self.translation_identity(source, language, split)
        return {"task": self.name, "language": language, "split": split, "what": what, "data": identity}


def sandbox_folder() -> Path:
    """The built sandbox, on the shelf or on this machine; builds it first when it is nowhere."""
    return shelf.found("sandbox", world.VERSION) or built_sandbox(cache_folder())
