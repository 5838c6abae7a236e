"""One split in translation: what of it is to be translated, and the table that is put together at the end.

The table has a row for each row that was read, in order: the task's columns, and `reason` where a row could not be
translated. Rows are never silently empty, and never silently gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray import registry
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.tasks._rows import Row, Rows, Unusable, cached
from flare_ray.tasks.base import Task
from flare_ray.translation.memory import Entry, Memory, Pair
from flare_ray.translation.outcomes import Outcome, outcome
from flare_ray.translation.quality import QUALITY_FLAGS, all_flags, compare, worst
from flare_ray.translation.suspicions import LengthRatio

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "rows.parquet"
SAMPLE = "sample.json"
_BATCH = 1000
_SAMPLED = 20
_COMPARED = 2000  # rows that chrF and BLEU are computed over, the first ones
_MEASURED = 2000
"""Rows, evenly spread, whose translations' usual length is measured."""


def pair(corpus: Corpus) -> Pair:
    """By which translator and in which direction."""
    english = registry.load("tasks", corpus.task).source_language
    ends = (corpus.language, english) if corpus.into_english else (english, corpus.language)
    return Pair(corpus.translator_key, *ends)


class Translating:
    """A corpus whose texts are in the memory, or are to come into it."""

    def __init__(self, corpus: Corpus, memory: Memory):
        self.corpus, self.memory = corpus, memory
        self.task: Task = registry.load("tasks", corpus.task)
        language = corpus.language if corpus.into_english else self.task.source_language
        self.read = self.task.read(
            corpus.data, language, corpus.split, max_dropped=corpus.max_dropped, limit=corpus.limit
        )

    def outcomes(self) -> Iterator[tuple[Row, Outcome]]:
        """Every row with its outcome so far, in order."""
        corpus = self.corpus
        for batch in self.read.table.to_batches(max_chunksize=_BATCH):
            for row in batch.to_pylist():
                yield row, outcome(self.task, row, corpus.answers, corpus.into_english, self.memory.find)

    def asked(self, step: int) -> Iterator[str]:
        """Texts of one step, translated or not; those of the steps before must be."""
        for _, one in self.outcomes():
            yield from one.steps[step] if step < len(one.steps) else ()

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the table and the sample; returns what a record says of them. Every text must be in the memory."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self.task.schema().append(pa.field("reason", pa.string()))
        expected = self.usual_length()
        counts, pairs = _Counts(expected), []
        with pq.ParquetWriter(folder / ROWS, schema, compression="zstd") as file:
            chunk: list[Row] = []
            for row, one in self.outcomes():
                counts.add(one)
                pairs += _suspects(one, expected)
                pairs = worst(pairs, _SAMPLED) if len(pairs) > _BATCH else pairs
                chunk.append(self._row(row, one))
                if len(chunk) == _BATCH:
                    file.write_table(pa.Table.from_pylist(chunk, schema))
                    chunk = []
            file.write_table(pa.Table.from_pylist(chunk, schema))
        sample = worst(pairs, _SAMPLED)
        (folder / SAMPLE).write_text(json.dumps(sample, ensure_ascii=False, indent=1), encoding="utf-8")
        return {**counts.facts(), "against_gold": self._against_gold(folder / ROWS)}

    def usual_length(self) -> LengthRatio:
        """Measure how long this corpus's translations usually are."""
        source, target = self.memory.pair.source, self.memory.pair.target
        pairs = [(entry.text, entry.translation) for entry in self.sample(_MEASURED)]
        return LengthRatio.of(pairs, source, target)

    def sample(self, rows: int) -> Iterator[Entry]:
        """Yield the translations that evenly spread rows are made of, at most so many rows."""
        table, corpus = self.read.table, self.corpus
        step = max(1, -(-table.num_rows // rows))
        for row in table.take(list(range(0, table.num_rows, step))).to_pylist():
            yield from outcome(self.task, row, corpus.answers, corpus.into_english, self.memory.find).entries

    def _row(self, row: Row, one: Outcome) -> dict[str, Any]:
        kept = {name: row[name] for name in ("id", "label") if name in row}
        absent = dict.fromkeys(self.task.text_columns)
        return {**absent, **kept, **(one.row or {}), "reason": one.reason}

    def _against_gold(self, file: Path) -> dict[str, Any]:
        """chrF and BLEU of each text column where the corpus has the same rows in that language; else nothing."""
        from flare_ray.errors import InputError

        corpus = self.corpus
        language = self.task.source_language if corpus.into_english else corpus.language
        try:
            gold = self.task.read(corpus.data, language, corpus.split, max_dropped=1.0).table
        except InputError:
            return {}
        return compare(_usable(file), gold, self.task.text_columns, language, _COMPARED)


class _Counts:
    """What is counted over a corpus."""

    def __init__(self, expected: LengthRatio) -> None:
        self.expected = expected
        self.rows = 0
        self.failed: Counter[str] = Counter()
        self.flagged: Counter[str] = Counter()
        self.marks: dict[str, Counter[str]] = {}
        self.unanswered = 0

    def add(self, one: Outcome) -> None:
        """Counts a row."""
        self.rows += 1
        if one.waiting:
            raise RuntimeError("a text of the corpus is not in the translation memory")
        if one.reason:
            self.failed[one.reason] += 1
        self.flagged.update({flag for entry in one.entries for flag in _flags(entry, self.expected)})
        for style, survived in one.marks:
            mine = self.marks.setdefault(style, Counter())
            mine["tried"] += 1
            mine["survived"] += survived
        if one.row is not None and one.row.get("answers") == []:
            self.unanswered += 1

    def facts(self) -> dict[str, Any]:
        """Plain values. retention: share of the rows whose answers were found again, for question answering."""
        facts: dict[str, Any] = {
            "rows": self.rows,
            "usable": self.rows - sum(self.failed.values()),
            "failed": dict(self.failed),
            "flagged": {flag: self.flagged[flag] for flag in QUALITY_FLAGS},
            "length_ratio": {"ratio": round(self.expected.ratio, 3), "pairs": self.expected.pairs},
        }
        if self.marks or self.failed["answer lost"] or self.unanswered:
            lost = self.failed["answer lost"] + self.unanswered
            facts["retention"] = 1 - lost / max(1, self.rows)
            facts["markers"] = {style: dict(counts) for style, counts in self.marks.items()}
        return facts


def _suspects(one: Outcome, expected: LengthRatio) -> list[dict[str, Any]]:
    return [
        {"source": entry.text, "translation": entry.translation, "flags": _flags(entry, expected)}
        for entry in one.entries
    ]


def _flags(entry: Entry, expected: LengthRatio) -> list[str]:
    return all_flags(entry.text, entry.translation, entry.flags, expected)


def _usable(file: Path) -> pa.Table:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    return table.filter(pc.is_null(table["reason"]))


def read(task: Task, file: Path) -> Rows:
    """The usable rows of a written corpus, memory-mapped; the others are counted by reason."""
    import pyarrow.parquet as pq

    def rows() -> Iterator[Row | Unusable]:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            for row in batch.to_pylist():
                reason = row.pop("reason")
                yield row if reason is None else Unusable(row["id"], reason, reason, "a translation")

    facts = file.stat()
    identity = {"corpus": str(file.absolute()), "size": facts.st_size, "changed": str(facts.st_mtime_ns)}
    return cached({"translated": fingerprint(identity)}, task.schema(), rows)
