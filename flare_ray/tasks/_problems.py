"""What is wrong with a task's local data, all of it at once, told before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.plan.english import Reads
from flare_ray.tasks._pairs import agreement, label_problem
from flare_ray.tasks._rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from flare_ray.tasks.base import Task

_EVERY, _MOST = 1.0, 0.5
"""Share of a split's rows that need their English row: own rows all; a translation may have lost answers."""


def problems(
    task: Task, source: str, languages: Sequence[str], reads: Reads, max_dropped: float
) -> list[Problem]:
    """Absent folder and files, unusable and repeated rows, rows without their English row or beside another one."""
    where = f"data.{task.name}"
    if source == "sandbox" or not is_local(source):
        return []
    if not local_path(source).is_dir():
        return [Problem(where, f"{source!r}, which is not there", "a folder, a hub dataset id, or sandbox")]
    checked = _Reader(task, source, where, max_dropped)
    for split in ("train", "validation"):
        checked.rows(task.source_language, split)  # the base model trains on English, always
    for language in languages:
        for split, english in reads.items():
            if checked.rows(language, split) is None:
                continue
            if "own" in english:
                checked.pairs(language, split)
            if "beside" in english:
                checked.translations(language, split)
    return checked.found


class _Reader:
    """Reads splits and collects what is wrong with them."""

    def __init__(self, task: Task, source: str, where: str, max_dropped: float):
        self.task, self.source, self.where, self.max_dropped = task, source, where, max_dropped
        self.found: list[Problem] = []
        self._known: dict[tuple[str, str], Rows | None] = {}

    def rows(self, language: str, split: str) -> Rows | None:
        """Return the rows of a split, or None when it cannot be read."""
        if (language, split) not in self._known:
            self._known[language, split] = self._rows(language, split)
        return self._known[language, split]

    def _rows(self, language: str, split: str) -> Rows | None:
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
            self._report(f"{file} without a row in the {split} split", "rows in every split")
        if len(ids) != len(pc.unique(ids)):
            counts = pc.value_counts(ids)
            twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
            example = pc.min(twice).as_py()
            self._report(f"{file} with ids that come twice, such as {example}", "each id once")
        return rows

    def pairs(self, language: str, split: str) -> None:
        """Each row must have the corpus's English row, with its label, and as many rows where places are ids."""
        mine, english = self.rows(language, split), self.rows(self.task.source_language, split)
        if mine is None or english is None:  # reported already
            return
        self._without_english(mine, english, language, split, _EVERY)
        what = f"the {language} {split} split"
        counts = [rows.table.num_rows + sum(rows.dropped.values()) for rows in (mine, english)]
        if counts[0] != counts[1] and self._by_place(language, split):
            expected = "as many, since rows without ids of their own pair by place"
            self._report(f"{what} has {counts[0]} rows beside English's {counts[1]}", expected)
        found = agreement(mine.table, english.table)
        if found.refused:
            problem = label_problem(self.where, what, found)
            self._report(problem.found, problem.wanted)

    def _by_place(self, language: str, split: str) -> bool:
        """Return whether the rows of a split have no ids but their places, in either language."""
        folder = local_path(self.source)
        parts = [self.task.part(folder, one, split) for one in (language, self.task.source_language)]
        return any(part is not None and not self.task.has_ids(part.file) for part in parts)

    def translations(self, language: str, split: str) -> None:
        """The split must have an English translation beside it, for most of its rows."""
        mine = self.rows(language, split)
        try:
            english = self.task.read_translation(self.source, language, split, max_dropped=self.max_dropped)
        except InputError as error:
            return self._add(error)
        if english is not None and mine is not None:
            return self._without_english(mine, english, language, split, _MOST)
        part = self.task.part(local_path(self.source), language, split)
        name = f"{part.file.stem}.english{part.file.suffix}" if part else "a translation"
        got = f"no English translation of the {language} {split} split, which translation: files reads"
        return self._report(got, f"{name} beside it, or translation: gold, or a translation model")

    def _without_english(self, mine: Rows, english: Rows, language: str, split: str, least: float) -> None:
        """Report rows without English where they are more than a share of all, 1 - least."""
        ids = mine.table["id"]
        alone = _without(ids, english.table["id"])
        if len(alone) > (1 - least) * len(ids):
            example = ", ".join(sorted(alone.to_pylist())[:3])
            self._report(
                f"{len(alone)} of {len(ids)} ids of the {language} {split} split without an English row "
                f"(such as {example})",
                "the same ids in every language, since rows are paired by id, or a translation beside the test split",
            )

    def _add(self, error: InputError) -> None:
        for problem in error.problems:
            self._report(problem.found, problem.wanted)

    def _report(self, got: str, expected: str) -> None:
        problem = Problem(self.where, got, expected)
        if problem not in self.found:
            self.found.append(problem)


def _without(ids: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return ids.filter(pc.invert(pc.is_in(ids, others.combine_chunks())))
