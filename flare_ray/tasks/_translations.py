"""English translations of a language's rows, in a file beside them.

`sw.test.english.tsv` translates `sw.test.tsv`: the same rows in the same order. Where the file names its rows by an
`id` it may leave some out, as a translation of question answering does that lost its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flare_ray.errors import InputError, Problem
from flare_ray.tasks._pairs import LEAST_AGREEMENT
from flare_ray.tasks._rows import Row

_SUFFIXES = ("tsv", "jsonl", "json", "csv", "parquet")


def beside(file: Path, names: Sequence[str]) -> Path | None:
    """The translation beside a file: `<name>.english.<suffix>`. Raises InputError when there are several."""
    candidates = (file.with_name(f"{name}.english.{suffix}") for name in names for suffix in _SUFFIXES)
    there = list(dict.fromkeys(candidate for candidate in candidates if candidate.is_file()))
    if len(there) > 1:
        found = "several translations of one split: " + ", ".join(map(str, there))
        raise InputError(str(file), [Problem("", found, "one of them")])
    return there[0] if there else None


def merged(
    originals: Iterator[Row],
    english: Iterator[Row],
    texts: Sequence[str],
    file: Path,
    label_name: Callable[[Any], str | None],
) -> Iterator[tuple[Row, Row]]:
    """Yield each row that has a translation, and the same with the translation's texts (and answers, if any).

    Raises InputError where rows or, if the translation has labels too, the labels are not those of the split.
    """
    by_place, labels = False, _Labels(label_name)
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
        labels.compare(original, translation)
        more = {"broken": translation.get("broken"), "answers": translation.get("answers", [])}
        yield original, {**original, **more, **{column: translation.get(column) for column in texts}}
    if by_place and next(originals, None) is not None:
        raise _out_of_step(file, "fewer rows than the split")
    if labels.pairs and labels.equal < LEAST_AGREEMENT * labels.pairs:
        raise _out_of_step(
            file, f"labels equal the split's in {labels.equal} of {labels.pairs}, {labels.example}"
        )


class _Labels:
    """Labels of a split and of its translation, compared row by row. example: the first row with two labels."""

    def __init__(self, name: Callable[[Any], str | None]):
        self.name, self.pairs, self.equal, self.example = name, 0, 0, ""

    def compare(self, original: Row, translation: Row) -> None:
        """Count a pair of rows, if both have a label."""
        pair = [
            self.name(row["label"]) if row.get("label") is not None else None
            for row in (original, translation)
        ]
        if None in pair:
            return
        self.pairs += 1
        self.equal += pair[0] == pair[1]
        if pair[0] != pair[1] and not self.example:
            self.example = f"row {original['id']} has {pair[0]} and {pair[1]}"


def _out_of_step(file: Path, found: str) -> InputError:
    problem = Problem("", f"{file}: {found}", "the split's rows in their order")
    return InputError(str(file), [problem])
