"""Rows and tokens of the data that is on this machine, for estimates: a local folder's, or the built sandbox's.

    size = counted("nusax", "./nusax", "ace", "test")
    size.rows, size.tokens(128)      # 400, 31.2

Rows are counted in the cache's Arrow files, where any reader of the split puts them. Their tokens are guessed from
the characters of some of them: four of an alphabet to a token, one and a half of Chinese characters and their like.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError
from flare_ray.plan.checkpoints import is_local
from flare_ray.sandbox.build import folder_of

log = logging.getLogger(__name__)

COUNTED = "rows counted in the data"
"""Said of an estimate for data that is on this machine."""
SPLITS = ("train", "validation", "test")
_SAMPLED = 200
"""Rows, evenly spread, whose characters are counted."""
_DISTINCT = 10_000
"""First rows, of which distinct texts are counted: rows with one text follow one another."""
_LETTERS_PER_TOKEN, _SIGNS_PER_TOKEN = 4.0, 1.5
_SIGNS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_SPECIAL = 2
"""Tokens that begin and end a text."""


@dataclass(frozen=True)
class SplitSize:
    """The rows of a split.

    sampled: guessed tokens of some of them. distinct_tokens: mean tokens of a row when each text is counted once.
    """

    rows: int
    sampled: tuple[float, ...]
    distinct_tokens: float

    def tokens(self, max_length: int | None = None) -> float:
        """Return the mean tokens of a row as a model reads it, cut at `max_length`."""
        most = max_length or float("inf")
        return sum(min(one, most) for one in self.sampled) / max(1, len(self.sampled))


def counted(task: str, data: str, language: str, split: str) -> SplitSize | None:
    """Return the size of a split that is on this machine; None where it is elsewhere or cannot be read."""
    if not _is_here(data):
        return None
    try:
        signature = _signature(task, data, language)
        return _counted(task, data, language, split, signature) if signature else None
    except (InputError, OSError, ValueError, KeyError, RuntimeError) as error:
        log.debug("rows of %s %s %s are not counted: %s", data, language, split, error)
        return None


def _is_here(data: str) -> bool:
    if data != "sandbox":
        return is_local(data)
    try:
        return folder_of(cache_folder()).is_dir()
    except InputError:  # no home
        return False


def _signature(task: str, data: str, language: str) -> tuple[Any, ...]:
    """Return what changes with a language's files: names, sizes and times; one value for the sandbox."""
    if data == "sandbox":
        return (str(folder_of(cache_folder())),)
    files: Iterable[os.PathLike[str]] = registry.load("tasks", task).files(data, language)
    return tuple((str(file), os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files)


@lru_cache(maxsize=4096)
def _counted(task: str, data: str, language: str, split: str, signature: tuple[Any, ...]) -> SplitSize:
    import pyarrow.compute as pc

    loaded = registry.load("tasks", task)
    table = loaded.read(data, language, split, max_dropped=1.0).table
    step = max(1, -(-table.num_rows // _SAMPLED))
    some = table.take(list(range(0, table.num_rows, step))).to_pylist()
    columns = loaded.text_columns
    first = table.slice(0, _DISTINCT)
    distinct = sum(
        pc.count_distinct(first[column]).as_py()
        / max(1, first.num_rows)
        * fmean(_tokens(row, (column,)) for row in some)
        for column in columns
        if some
    )
    return SplitSize(table.num_rows, tuple(_tokens(row, columns) for row in some), distinct)


def _tokens(row: Mapping[str, Any], columns: Iterable[str]) -> float:
    """Guess the tokens of a row's texts."""
    texts = [row[column] for column in columns if isinstance(row.get(column), str)]
    signs = sum(len(_SIGNS.findall(text)) for text in texts)
    letters = sum(map(len, texts)) - signs
    return letters / _LETTERS_PER_TOKEN + signs / _SIGNS_PER_TOKEN + _SPECIAL


@dataclass(frozen=True)
class Amount:
    """What work reads. rows, tokens: of train, validation and test; tokens: of a row, at most the model's length.

    basis: where that is taken from, "" for the figures of the task's own dataset on the hub.
    """

    rows: tuple[float, float, float]
    tokens: tuple[float, float, float]
    basis: str = ""


def amount_here(task: str, data: str, languages: Iterable[str], max_length: int) -> Amount | None:
    """Return what is counted of the data that is here; None where neither train nor test can be counted.

    languages: whose train, validation and test rows are read. A split that is not there is read in English.
    """
    english = registry.load("tasks", task).source_language
    sizes = [
        counted(task, data, language, split) or counted(task, data, english, split)
        for language, split in zip(languages, SPLITS, strict=True)
    ]
    if sizes[0] is None and sizes[2] is None:
        return None
    train, validation, test = sizes
    rows = (_rows(train), _rows(validation), _rows(test))
    tokens = (_mean(train, max_length), _mean(validation, max_length), _mean(test, max_length))
    return Amount(rows, tokens, COUNTED)


def _rows(size: SplitSize | None) -> float:
    return float(size.rows) if size else 0.0


def _mean(size: SplitSize | None, max_length: int) -> float:
    return size.tokens(max_length) if size else 0.0


def describe_counts(task: str, data: str, languages: Sequence[str], limit: int | None = None) -> str | None:
    """Return a line on the rows that an estimate for these target languages counts; None where none can be.

    limit: rows per split that the sweep reads, the first ones.
    """
    english = registry.load("tasks", task).source_language
    train, validation = (counted(task, data, english, split) for split in ("train", "validation"))
    tests = {language: size for language in languages if (size := counted(task, data, language, "test"))}
    if not train and not tests:
        return None
    parts = [
        f"{_read(size, limit):,} {split} rows of about {size.tokens():.0f} tokens in {english}"
        for split, size in (("train", train), ("validation", validation))
        if size
    ]
    by_rows: dict[int, list[str]] = {}
    for language, size in tests.items():
        by_rows.setdefault(_read(size, limit), []).append(language)
    parts += [f"{rows:,} test rows in {', '.join(names)}" for rows, names in by_rows.items()]
    return f"{task}: {'; '.join(parts)}"


def _read(size: SplitSize, limit: int | None) -> int:
    return size.rows if limit is None else min(size.rows, limit)
