"""All that is wrong with a task's local data, reported at once before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.plan.english import Reads
from flare_ray.tasks._pairs import agreement, label_problem
from flare_ray.tasks._passages import passage_problems
from flare_ray.tasks._remembered import remembered
from flare_ray.tasks._rows import Rows
from flare_ray.tasks._splits import check_copies, check_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from flare_ray.tasks.base import Task

TRAINED = ("train", "validation")
_VERSION = "1"  # of the checks: raised when they find something else in the same files
_ENOUGH = 30  # rows whose labels show that they are in another order than English's
_EVERY, _MOST = 1.0, 0.5
"""Share of a split's rows that need their English row: own rows all; a translation may have lost answers."""


def check_rows(
    task: Task, source: str, languages: Sequence[str], reads: Reads, max_dropped: float
) -> tuple[list[Problem], list[Problem]]:
    """Return the problems and the warnings of a task's rows; rows of the hub are checked when they are read.

    Problems: absent folder and files, unusable and repeated rows, rows without their English row or beside another
    one, labels without a row, test rows that are training rows. Warnings: a few of these.
    """
    where = f"data.{task.name}"
    if source == "sandbox" or not is_local(source):
        return _absent_translations(where, source, reads), []
    if not local_path(source).is_dir():
        return [
            Problem(where, f"{source!r}, which is not there", "a folder, a hub dataset id, or sandbox")
        ], []
    try:
        key = _content(task, source, languages, reads, max_dropped)
    except (InputError, OSError):  # of files that cannot be read: the check names them
        return _checked(task, source, languages, reads, max_dropped)
    found = remembered(key, lambda: _plain(_checked(task, source, languages, reads, max_dropped)))
    problems, warnings = ([Problem(**one) for one in some] for some in found)
    return problems, warnings


def _content(
    task: Task, source: str, languages: Sequence[str], reads: Reads, max_dropped: float
) -> dict[str, Any]:
    """Return all that determines what is found: rows, translations, their files' names, and what is asked."""
    folder, every = local_path(source), [task.source_language, *languages]
    splits = [*TRAINED, "test"]
    parts = {one: {split: task.part(folder, one, split) for split in splits} for one in every}
    files = {one: [str(part.file) if part else None for part in parts[one].values()] for one in every}
    return {
        "check": "rows",
        "version": _VERSION,
        "source": source,
        "files": files,
        "rows": {one: [task.fetched_as(source, one, split) for split in splits] for one in every},
        "translations": {
            one: [
                [
                    split,
                    str(task.translation_file(source, one, split)),
                    task.translation_identity(source, one, split),
                ]
                for split, part in parts[one].items()
                if part and "beside" in reads.get(split, ())
            ]
            for one in languages
        },
        "reads": {split: sorted(english) for split, english in reads.items()},
        "max_dropped": max_dropped,
    }


def _plain(found: tuple[list[Problem], list[Problem]]) -> list[list[dict[str, Any]]]:
    return [[vars(problem) for problem in some] for some in found]


def _checked(
    task: Task, source: str, languages: Sequence[str], reads: Reads, max_dropped: float
) -> tuple[list[Problem], list[Problem]]:
    checked = Reader(task, source, f"data.{task.name}", max_dropped)
    for split in TRAINED:
        checked.rows(task.source_language, split)  # the base model trains on English, always
    for language in languages:
        for split, english in reads.items():
            if checked.rows(language, split) is None:
                continue
            if "own" in english:
                checked.pairs(language, split)
            else:
                checked.label_order(language, split)
            if "beside" in english:
                checked.translations(language, split)
    check_labels(checked, task.source_language, TRAINED)
    for language in languages:
        check_labels(checked, language, list(reads))
    splits = {language: list(reads) for language in languages}
    check_copies(checked, {task.source_language: [*TRAINED, "test"], **splits})
    return checked.found, checked.warnings


def _absent_translations(where: str, source: str, reads: Reads) -> list[Problem]:
    """Return the problem of data without files beside them, where they are to be read."""
    splits = [split for split, english in reads.items() if "beside" in english]
    if not splits:
        return []
    got = f"translation: files, and no English translation of the {', '.join(splits)} split in {source}"
    return [
        Problem(where, got, "a local folder with translations, translation: gold, or a translation model")
    ]


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
        if len(ids) != len(pc.unique(ids)):
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
        mine, english = self.rows(language, split), self.rows(self.task.source_language, split)
        if mine is None or english is None:  # reported already
            return
        self._without_english(mine, english, language, split, _EVERY)
        what = f"the {language} {split} split"
        counts = [rows.table.num_rows + sum(rows.dropped.values()) for rows in (mine, english)]
        if counts[0] != counts[1] and self._by_place(language, split):
            expected = "as many, since rows without ids of their own pair by place"
            self.report(f"{what} has {counts[0]} rows beside English's {counts[1]}", expected)
        found = agreement(mine.table, english.table)
        if found.refused:
            problem = label_problem(self.where, what, found)
            self.report(problem.found, problem.wanted)
        elif found.differ:
            got = f"{what}: {found.differ} of {found.pairs} rows have another label than their English row"
            self.warn(got, "the same label, as rows with one id translate one another")
        for problem in passage_problems(self.where, what, mine.table, english.table):
            self.report(problem.found, problem.wanted)

    def label_order(self, language: str, split: str) -> None:
        """Labels must be in English's order, though no English row is read with the split's.

        The split may have other rows than English then: labels that agree by chance alone are no fault.
        """
        mine, english = self.table(language, split), self.table_if_there(self.task.source_language, split)
        if mine is None or english is None:
            return
        found = agreement(mine, english)
        if found.refused and found.reading and found.pairs >= _ENOUGH:
            problem = label_problem(self.where, f"the {language} {split} split", found)
            self.report(problem.found, problem.wanted)

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
        return self.report(got, f"{name} beside it, or translation: gold, or a translation model")

    def _without_english(self, mine: Rows, english: Rows, language: str, split: str, least: float) -> None:
        """Report rows without English where they are more than a share of all, 1 - least."""
        ids = mine.table["id"]
        alone = _without(ids, english.table["id"])
        if len(alone) > (1 - least) * len(ids):
            example = ", ".join(sorted(alone.to_pylist())[:3])
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


def _without(ids: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return ids.filter(pc.invert(pc.is_in(ids, others.combine_chunks())))
