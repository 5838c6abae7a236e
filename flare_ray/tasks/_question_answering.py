"""Tasks that find the answer to a question in a context."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray.errors import InputError
from flare_ray.plan.checkpoints import is_local
from flare_ray.tables.json_values import holds_rows
from flare_ray.tables.reader import absent_columns, header, records
from flare_ray.tasks import _scores
from flare_ray.tasks._marks import has_loose_marks
from flare_ray.tasks._rows import Row, Unusable, text_fault
from flare_ray.tasks._squad import answers_of, questions
from flare_ray.tasks.base import SANDBOX, SPLITS, Task

if TYPE_CHECKING:
    import pyarrow as pa


_FURTHER_PROMPT = re.compile(r"\s*\n\s*(Context|Question):")


class QuestionAnswering(Task):
    """Exact match and F1 over all gold answers, as SQuAD v1.1."""

    kind = "question_answering"
    text_columns = ("context", "question")
    metric = "exact_match"

    def schema(self) -> pa.Schema:
        """Id, context, question, and the answers with their places in the context."""
        import pyarrow as pa

        answer = pa.struct([("text", pa.string()), ("start", pa.int64())])
        texts = [(column, pa.string()) for column in ("id", *self.text_columns)]
        return pa.schema([*texts, ("answers", pa.list_(answer))])

    def examine(self, row: Row, *, translated: bool = False) -> Row | Unusable:
        """The row, if every answer stands at its place in the context; nothing is searched or guessed."""
        fault = text_fault(row, self.text_columns)
        if fault is None:
            fault = _answer_fault(row)
            if fault is None or translated:
                return {
                    "id": row["id"],
                    "context": row["context"],
                    "question": row["question"],
                    "answers": [] if fault else row["answers"],
                }
        return fault

    def prompt(self, row: Row) -> str:
        """`Context: …`, newline, `Question: …`, newline, `Answer: `."""
        return f"Context: {row['context']}\nQuestion: {row['question']}\nAnswer: "

    def answer(self, row: Row) -> str:
        """The first gold answer's text."""
        return str(row["answers"][0]["text"])

    def parse(self, generated: str) -> str | None:
        """All that comes before a line of a further prompt; an answer may have several lines."""
        text = generated.strip()
        further = _FURTHER_PROMPT.search(text)
        return text[: further.start()] if further else text or None

    def gold(self, table: pa.Table) -> list[tuple[str, ...]]:
        """Each row's answers, each text once."""
        every = table["answers"].to_pylist()
        return [tuple(dict.fromkeys(answer["text"] for answer in answers)) for answers in every]

    def score(self, gold: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
        """Exact match, F1 and unparsed, in points."""
        return _scores.squad(gold, predictions)

    def text_kinds(self, source: str, language: str, form: str, strips_accents: bool) -> list[str]:
        """`decomposed` of contexts that a span head reads, `several lines` of answers that are generated."""
        kinds = super().text_kinds(source, language, form, strips_accents)
        if source == SANDBOX:
            return kinds
        kind = {"span": "decomposed", "generation": "several lines"}[form]
        if not is_local(source):
            return [kind, *kinds]
        key = self.fetched_as(source, language, "test")
        return [*kinds, kind] if self._has_kind(source, language, kind, strips_accents, key) else kinds

    @lru_cache(maxsize=1024)  # noqa: B019 - tasks are never freed
    def _has_kind(self, source: str, language: str, kind: str, strips_accents: bool, key: str) -> bool:
        """Return whether a local language's rows have texts of a kind. key: of the rows' content."""
        import pyarrow.compute as pc

        for split in SPLITS:
            try:
                table = self.read(source, language, split, max_dropped=1.0).table
            except InputError:  # reported with the data
                continue
            if kind == "several lines":
                if has_line_breaks(table):
                    return True
            elif any(
                has_loose_marks(text, strips_accents) for text in pc.unique(table["context"]).to_pylist()
            ):
                return True
        return False

    def fits(self, file: Path, language: str) -> bool:
        """Return whether a file is SQuAD JSON, or has columns for context and question."""
        return _is_squad(file) or super().fits(file, language)

    def answered(self, file: Path, *, labelled: bool = True) -> Iterator[Row]:
        """All rows of a file: SQuAD JSON, or a table with a column for each of these; a translation may lack ids."""
        if _is_squad(file):
            yield from questions(file)
            return
        columns = header(file)
        wanted = ("id", *self.text_columns, "answers") if labelled else self.text_columns
        absent = [column for column in wanted if column not in columns]
        if absent:
            raise absent_columns(file, columns, absent)
        for number, record in enumerate(records(file), start=1):
            row_id = str(record.get("id", f"(row {number})")) if "id" in columns else None
            yield {**record, "id": row_id, "answers": _listed(record.get("answers"))}


def has_line_breaks(table: pa.Table) -> bool:
    """Return whether some gold answer of a split has several lines."""
    import pyarrow.compute as pc

    texts = pc.struct_field(pc.list_flatten(table["answers"]), "text")
    return bool(pc.any(pc.match_substring(pc.utf8_trim_whitespace(texts), "\n")).as_py())


def _is_squad(file: Path) -> bool:
    """Return whether a file is read as SQuAD JSON: any JSON file that is no list of rows."""
    if file.suffix != ".json":
        return False
    try:
        return not holds_rows(file)
    except ValueError:  # no JSON: named as it is read
        return True


def _listed(value: Any) -> list[dict[str, Any]]:
    """Answers of a row: as JSON has them, also as a text in one column. None where they are something else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    try:
        return answers_of(value) if isinstance(value, list | dict) else []
    except (KeyError, TypeError, AttributeError, ValueError):
        return []


def _answer_fault(row: Row) -> Unusable | None:
    wanted = "the answer's text at its start, counted in code points"
    if not row["answers"]:
        return Unusable(row["id"], "no answer", "no answer", wanted)
    for answer in row["answers"]:
        text, start = answer["text"], answer["start"]
        if not isinstance(text, str) or not text.strip():
            return Unusable(row["id"], "no answer", f"the answer {text!r}", wanted)
        there = row["context"][start : start + len(text)] if isinstance(start, int) and start >= 0 else None
        if there != text:
            found = f"answer {text!r} at {start}, where its context has {there!r}"
            return Unusable(row["id"], "answer not in its context", found, wanted)
    return None
