"""English translations of a language's rows, in a file beside them.

`sw.test.english.tsv` translates `sw.test.tsv`: the same rows in the same order. Where the file names its rows by an
`id` it may leave some out, as a translation of question answering does that lost its answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from flare_ray.errors import InputError, Problem
from flare_ray.tasks._rows import Row

_SUFFIXES = ("tsv", "jsonl", "json", "csv")


def beside(file: Path, names: Sequence[str]) -> Path | None:
    """The translation beside a file: `<name>.english.<suffix>`. Raises InputError when there are several."""
    candidates = (file.with_name(f"{name}.english.{suffix}") for name in names for suffix in _SUFFIXES)
    there = list(dict.fromkeys(candidate for candidate in candidates if candidate.is_file()))
    if len(there) > 1:
        found = "several translations of one split: " + ", ".join(map(str, there))
        raise InputError(str(file), [Problem("", found, "one of them")])
    return there[0] if there else None


def merged(
    originals: Iterator[Row], english: Iterator[Row], texts: Sequence[str], file: Path
) -> Iterator[Row]:
    """Each original row that has a translation, with the translation's texts (and answers, if it has them)."""
    by_place = False
    for translation in english:
        row_id = translation["id"]
        by_place = by_place or row_id is None
        original = next(originals, None)
        while original is not None and row_id not in (None, original["id"]):
            original = next(originals, None)
        if original is None:
            found = (
                "more rows than the split" if row_id is None else f"a row {row_id} that has no place there"
            )
            raise _out_of_step(file, found)
        more = {"broken": translation.get("broken"), "answers": translation.get("answers", [])}
        yield {**original, **more, **{column: translation.get(column) for column in texts}}
    if by_place and next(originals, None) is not None:
        raise _out_of_step(file, "fewer rows than the split")


def _out_of_step(file: Path, found: str) -> InputError:
    problem = Problem("", f"{file}: {found}", "the split's rows in their order")
    return InputError(str(file), [problem])
