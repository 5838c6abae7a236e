"""The splits of a local source, each read once, and all that is wrong with them and with the English beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import local_path
from flare_ray.tasks._pairs import agreement, label_problem, untranslated
from flare_ray.tasks._passages import passage_problems
from flare_ray.tasks._rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from flare_ray.tasks.base import Task

_ENOUGH = 30  # rows whose labels show that they are in another order than English's
_FEW, _UNTRANSLATED = 8, 0.1
"""Rows that say too little; share of the rows, 0 to 1, that may have their English row's texts: names, numbers."""
_EVERY, _MOST = 1.0, 0.5
"""Share of a split's rows that need their English row: own rows all; a translation may have lost answers."""


class Reader:
    """Reads splits and collects what is wrong with them."""

    def __init__(self, task: Task, source: str, where: str, max_dropped: float):
        self.task, self.source, self.where, self.max_dropped = task, source, where, max_dropped
        self.found: list[Problem] = []
        self.warnings: list[Problem] = []
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
            self.report(f"{file} without a row in the {split} split", "rows in every split")
        if ids.null_count:
            self.report(f"{file}: {ids.null_count} of {len(ids)} rows without an id", "an id in every row")
        elif len(ids) != len(pc.unique(ids)):
            counts = pc.value_counts(ids)
            twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
            example = pc.min(twice).as_py()
            self.report(f"{file} with ids that come twice, such as {example}", "each id once")
        return rows

    def table(self, language: str, split: str) -> pa.Table | None:
        """Return the table of a split, or None when it cannot be read."""
        rows = self.rows(language, split)
        return rows.table if rows else None

    def table_if_there(self, language: str, split: str) -> pa.Table | None:
        """Return the table of a split that nothing may read: one that cannot be read is no problem."""
        if (language, split) in self._known:
            return self.table(language, split)
        try:
            return self.task.read(self.source, language, split, max_dropped=1.0).table
        except InputError:
            return None

    def pairs(self, language: str, split: str) -> None:
        """Each row must have the corpus's English row, with its label, and as many rows where places are ids."""
        target_rows, english = self.rows(language, split), self.rows(self.task.source_language, split)
        if target_rows is None or english is None:  # reported already
            return
        self._without_english(target_rows, english, language, split, _EVERY)
        self._untranslated(target_rows, english, language, split)
        what = f"the {language} {split} split"
        counts = [rows.table.num_rows + sum(rows.dropped.values()) for rows in (target_rows, english)]
        if counts[0] != counts[1] and self._by_place(language, split):
            expected = "as many, since rows without ids of their own pair by place"
            self.report(f"{what} has {counts[0]} rows beside English's {counts[1]}", expected)
        result = agreement(target_rows.table, english.table)
        if result.refused:
            problem = label_problem(self.where, what, result)
            self.report(problem.found, problem.wanted)
        elif result.differ:
            got = f"{what}: {result.differ} of {result.pairs} rows have another label than their English row"
            self.warn(got, "the same label, as rows with one id translate one another")
        for problem in passage_problems(self.where, what, target_rows.table, english.table):
            self.report(problem.found, problem.wanted)

    def label_order(self, language: str, split: str) -> None:
        """Labels must be in English's order, though no English row is read with the split's.

        The split may have other rows than English then: labels that agree by chance alone are no fault.
        """
        target_rows, english = (
            self.table(language, split),
            self.table_if_there(self.task.source_language, split),
        )
        if target_rows is None or english is None:
            return
        result = agreement(target_rows, english)
        if result.refused and result.reading and result.pairs >= _ENOUGH:
            problem = label_problem(self.where, f"the {language} {split} split", result)
            self.report(problem.found, problem.wanted)

    def _by_place(self, language: str, split: str) -> bool:
        """Return whether the rows of a split have no ids but their places, in either language."""
        folder = local_path(self.source)
        parts = [self.task.part(folder, code, split) for code in (language, self.task.source_language)]
        return any(part is not None and not self.task.has_ids(part.file) for part in parts)

    def translations(self, language: str, split: str) -> None:
        """The split must have an English translation beside it, for most of its rows."""
        target_rows = self.rows(language, split)
        try:
            english = self.task.read_translation(self.source, language, split, max_dropped=self.max_dropped)
        except InputError as error:
            return self._add(error)
        if english is not None and target_rows is not None:
            self._untranslated(target_rows, english, language, split)
            return self._without_english(target_rows, english, language, split, _MOST)
        part = self.task.part(local_path(self.source), language, split)
        name = f"{part.file.stem}.english{part.file.suffix}" if part else "a translation"
        got = f"no English translation of the {language} {split} split, which translation: files reads"
        return self.report(got, f"{name} beside it, or translation: gold, or a translation model")

    def _untranslated(self, target_rows: Rows, english: Rows, language: str, split: str) -> None:
        """Warn of rows whose texts are their English row's: one of the two files is a copy of the other."""
        same, pairs = untranslated(target_rows.table, english.table, self.task.text_columns)
        if pairs >= _FEW and same > _UNTRANSLATED * pairs:
            got = (
                f"{same} of {pairs} rows of the {language} {split} split have the texts of their English row"
            )
            self.warn(
                got, f"texts in {language}, and their translations; check for a copied or untranslated file"
            )

    def _without_english(
        self, target_rows: Rows, english: Rows, language: str, split: str, least: float
    ) -> None:
        """Report rows without English where they are more than a share of all, 1 - least."""
        ids = target_rows.table["id"]
        alone = _without(ids.drop_null(), english.table["id"])  # rows without an id are reported already
        if len(alone) > (1 - least) * len(ids):
            example = ", ".join(map(_shown, sorted(alone.to_pylist())[:3]))
            self.report(
                f"{len(alone)} of {len(ids)} ids of the {language} {split} split without an English row "
                f"(such as {example})",
                "the same ids in every language, since rows are paired by id, or a translation beside the test split",
            )

    def _add(self, error: InputError) -> None:
        for problem in error.problems:
            self.report(problem.found, problem.wanted)

    def report(self, got: str, expected: str) -> None:
        """Note a problem, once."""
        problem = Problem(self.where, got, expected)
        if problem not in self.found:
            self.found.append(problem)

    def warn(self, got: str, expected: str) -> None:
        """Note what looks wrong and stops nothing."""
        self.warnings.append(Problem(self.where, got, expected))


def _shown(row_id: str) -> str:
    """Return an id for a message, in quotes where it has blanks or is empty."""
    return row_id if row_id.split() == [row_id] else repr(row_id)


def _without(ids: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return ids.filter(pc.invert(pc.is_in(ids, others.combine_chunks())))
