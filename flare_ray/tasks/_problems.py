"""What is wrong with a task's local data, all of it at once, told before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import is_local, local_path

if TYPE_CHECKING:
    import pyarrow as pa

    from flare_ray.tasks.base import Task

_TRAINED = ("train", "validation", "test")


def problems(
    task: Task, source: str, languages: Sequence[str], paired: bool, trained: bool, max_dropped: float
) -> list[Problem]:
    """Absent folder and files, unusable and repeated rows, ids without their English row."""
    where = f"data.{task.name}"
    if source == "sandbox" or not is_local(source):
        return []
    if not local_path(source).is_dir():
        return [Problem(where, f"{source!r}, which is not there", "a folder, a hub dataset id, or sandbox")]
    splits = _TRAINED if trained else ("test",)
    checked = _Reader(task, source, where, max_dropped)
    for split in _TRAINED[:2]:
        checked.ids(task.source_language, split)  # the base model trains on English, always
    for language in languages:
        for split in splits:
            ids, silver = checked.ids(language, split), checked.translated(language, split)
            if paired and ids is not None:
                checked.pairs(language, split, ids, silver)
    return checked.found


class _Reader:
    """Reads splits and collects what is wrong with them."""

    def __init__(self, task: Task, source: str, where: str, max_dropped: float):
        self.task, self.source, self.where, self.max_dropped = task, source, where, max_dropped
        self.found: list[Problem] = []
        self._known: dict[tuple[str, str], pa.ChunkedArray | None] = {}

    def ids(self, language: str, split: str) -> pa.ChunkedArray | None:
        """Ids of a split, or None when it cannot be read."""
        if (language, split) not in self._known:
            self._known[language, split] = self._ids(language, split)
        return self._known[language, split]

    def _ids(self, language: str, split: str) -> pa.ChunkedArray | None:
        import pyarrow.compute as pc

        try:
            rows = self.task.read(self.source, language, split, max_dropped=self.max_dropped)
            part = self.task.part(local_path(self.source), language, split)
        except InputError as error:
            self._add(error)
            return None
        ids = rows.table["id"]
        file = part.file if part else self.source
        if not len(ids):
            self._tell(f"{file} without a row in the {split} split", "rows in every split")
        if len(ids) != len(pc.unique(ids)):
            counts = pc.value_counts(ids)
            twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
            example = pc.min(twice).as_py()
            self._tell(f"{file} with ids that come twice, such as {example}", "each id once")
        return ids

    def translated(self, language: str, split: str) -> pa.ChunkedArray | None:
        """Ids of a split's English translation, or None without one that can be read."""
        try:
            rows = self.task.read_translation(self.source, language, split, max_dropped=self.max_dropped)
        except InputError as error:
            self._add(error)
            return None
        return rows.table["id"] if rows else None

    def pairs(
        self,
        language: str,
        split: str,
        ids: pa.ChunkedArray,
        silver: pa.ChunkedArray | None,
    ) -> None:
        """Each id must have an English row: a translation beside the split, or the corpus's own."""
        alone = ids if silver is None else _without(ids, silver)
        if len(alone):
            english = self.ids(self.task.source_language, split)
            alone = _without(alone, english) if english is not None else ()  # told already: no English split
        if len(alone):
            example = ", ".join(sorted(alone.to_pylist())[:3])
            self._tell(
                f"{len(alone)} of {len(ids)} ids of the {language} {split} split without an English row "
                f"(such as {example})",
                "the same ids in every language, since rows are paired by id, or a translation beside the split",
            )

    def _add(self, error: InputError) -> None:
        for problem in error.problems:
            self._tell(problem.found, problem.wanted)

    def _tell(self, found: str, wanted: str) -> None:
        problem = Problem(self.where, found, wanted)
        if problem not in self.found:
            self.found.append(problem)


def _without(ids: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return ids.filter(pc.invert(pc.is_in(ids, others.combine_chunks())))
