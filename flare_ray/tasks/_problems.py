"""All that is wrong with a task's local data, reported at once before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flare_ray.errors import InputError, Problem
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.plan.english import Reads
from flare_ray.tasks._remembered import remembered
from flare_ray.tasks._row_reader import Reader
from flare_ray.tasks._splits import check_copies, check_labels

if TYPE_CHECKING:
    from flare_ray.tasks.base import Task

TRAINED = ("train", "validation")
_VERSION = "2"  # of the checks: raised when they find something else in the same files


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
    result = remembered(key, lambda: _plain(_checked(task, source, languages, reads, max_dropped)))
    problems, warnings = ([Problem(**item) for item in some] for some in result)
    return problems, warnings


def _content(
    task: Task, source: str, languages: Sequence[str], reads: Reads, max_dropped: float
) -> dict[str, Any]:
    """Return all that determines what is found: rows, translations, their files' names, and what is asked."""
    folder, every = local_path(source), [task.source_language, *languages]
    splits = [*TRAINED, "test"]
    parts = {item: {split: task.part(folder, item, split) for split in splits} for item in every}
    files = {item: [str(part.file) if part else None for part in parts[item].values()] for item in every}
    return {
        "check": "rows",
        "version": _VERSION,
        "source": source,
        "files": files,
        "rows": {item: [task.fetched_as(source, item, split) for split in splits] for item in every},
        "translations": {
            item: [
                [
                    split,
                    str(task.translation_file(source, item, split)),
                    task.translation_identity(source, item, split),
                ]
                for split, part in parts[item].items()
                if part and "beside" in reads.get(split, ())
            ]
            for item in languages
        },
        "reads": {split: sorted(english) for split, english in reads.items()},
        "max_dropped": max_dropped,
    }


def _plain(result: tuple[list[Problem], list[Problem]]) -> list[list[dict[str, Any]]]:
    return [[vars(problem) for problem in some] for some in result]


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
