"""What a task is: its languages, where its rows come from, how predictions are scored.

Every split of every language is one table with the columns `id` (string, the same for the rows that are
translations of one another), the task's text columns, and `label` (index into `labels`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import files_digest, is_local, local_path
from flare_ray.sandbox import world

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "validation", "test")
SANDBOX = "sandbox"


@dataclass(frozen=True)
class Hyperparameters:
    """Table 5 of the paper: epochs, instances per step, peak learning rate, tokens per sequence."""

    epochs: int
    batch_size: int
    learning_rate: float
    max_length: int


class Task(ABC):
    """One benchmark. A subclass says where a language's files are and how they are read."""

    name: ClassVar[str]
    hub: ClassVar[str]
    """Dataset id on the Hugging Face hub, used when the sweep names no data."""
    source_language: ClassVar[str] = "eng"
    languages: ClassVar[Mapping[str, str]]
    """Target language code -> folder name in the original distribution."""
    left_out: ClassVar[Mapping[str, str]] = {}
    """Folder name of a language that the distribution has and the study leaves out -> why."""
    labels: ClassVar[tuple[str, ...]]
    text_columns: ClassVar[tuple[str, ...]]
    metric: ClassVar[str]
    """The metric that selects checkpoints and fills the tables, in points (0 to 100)."""

    @abstractmethod
    def hyperparameters(self, architecture: str) -> Hyperparameters:
        """Table 5's values for models of this architecture."""

    @abstractmethod
    def file(self, folder: Path, language: str, split: str) -> Path:
        """Where the original distribution keeps one split."""

    @abstractmethod
    def read_file(self, file: Path) -> pa.Table:
        """One file as a table of id, text columns, label. Raises InputError naming what is wrong in it."""

    @abstractmethod
    def read_hub(self, reference: str, language: str, split: str) -> pa.Table:
        """The same rows from the hub."""

    @abstractmethod
    def score(self, labels: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
        """Metrics in points (0 to 100) over all instances."""

    def targets(self, source: str) -> list[str]:
        """Target languages that a data source has for this task, in table order.

        A folder whose name the table does not know is a language of the user's own, called by that name.
        """
        if source == SANDBOX:
            return list(world.LANGUAGES)
        if not is_local(source):
            return list(self.languages)
        folder = local_path(source)
        named = {name: code for code, name in self.languages.items()}
        there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        not_mine = {world.SOURCE, self.source_language, *self.left_out}
        mine = [named.get(name, name) for name in there if name not in not_mine and not name.startswith(".")]
        known = [code for code in self.languages if code in mine]
        return known + [code for code in mine if code not in self.languages]

    def skipped(self, source: str) -> dict[str, str]:
        """Languages that a local source has and the study leaves out, with the reason."""
        if source == SANDBOX or not is_local(source):
            return {}
        return {name: why for name, why in self.left_out.items() if (local_path(source) / name).is_dir()}

    def folder_name(self, source: str, language: str) -> str:
        """The folder of a language code in a data source."""
        if language == self.source_language:
            return world.SOURCE
        return self.languages.get(language, language)

    def identity(self, source: str, language: str) -> dict[str, Any]:
        """What determines the rows of a language: the files' content, never their path."""
        if source == SANDBOX:
            return {"sandbox": world.VERSION, "language": language}
        if is_local(source):
            return {"content": files_digest(self.files(source, language))}
        name, _, revision = source.partition("@")
        return {"hub": name, "revision": revision or "main", "language": language}

    def files(self, source: str, language: str) -> list[Path]:
        """A language's files in a local source, one per split."""
        folder = local_path(source) if source != SANDBOX else sandbox_folder() / "data" / self.name
        return [self.file(folder, self.folder_name(source, language), split) for split in SPLITS]

    def read(self, source: str, language: str, split: str) -> pa.Table:
        """One split of one language, from the sandbox, a folder or the hub: the same columns from each."""
        if source == SANDBOX or is_local(source):
            return self.read_file(self.files(source, language)[SPLITS.index(split)])
        return self.read_hub(source, language, split)

    def problems(self, source: str, languages: Sequence[str]) -> list[Problem]:
        """What is wrong with a local source: absent files, absent columns, ids without their English row."""
        where = f"data.{self.name}"
        if source == SANDBOX or not is_local(source):
            return []
        if not local_path(source).is_dir():
            return [
                Problem(where, f"{source!r}, which is not there", "a folder, a hub dataset id, or sandbox")
            ]
        found: list[Problem] = []
        ids: dict[str, list[list[str] | None]] = {}
        for language in (self.source_language, *languages):
            ids[language] = [self._ids(file, where, found) for file in self.files(source, language)]
        for language in languages:
            found += self._unpaired(where, language, ids[language], ids[self.source_language])
        return found

    def _ids(self, file: Path, where: str, found: list[Problem]) -> list[str] | None:
        if not file.is_file():
            found.append(Problem(where, f"no file {file}", "train, valid and test of each language"))
            return None
        try:
            ids = self.read_file(file)["id"].to_pylist()
        except InputError as error:
            found += [Problem(where, problem.found, problem.wanted) for problem in error.problems]
            return None
        if not ids:
            found.append(Problem(where, f"{file} without a row", "rows in every split"))
        twice = sorted(row_id for row_id, count in Counter(ids).items() if count > 1)
        if twice:
            found.append(
                Problem(where, f"{file} with ids that come twice, such as {twice[0]}", "each id once")
            )
        return ids

    def _unpaired(
        self, where: str, language: str, target: list[list[str] | None], source: list[list[str] | None]
    ) -> list[Problem]:
        found = []
        for split, ids, english in zip(SPLITS, target, source, strict=True):
            if ids is None or english is None:
                continue
            alone = sorted(set(ids) - set(english))
            if alone:
                example = ", ".join(alone[:3])
                found.append(
                    Problem(
                        where,
                        f"{len(alone)} of {len(ids)} ids of the {language} {split} split without an English row "
                        f"(such as {example})",
                        "the same ids in every language, since rows are paired by id",
                    )
                )
        return found


def sandbox_folder() -> Path:
    """The built sandbox; builds it first when it is not there."""
    from flare_ray.sandbox.build import ensure

    return ensure(cache_folder())
