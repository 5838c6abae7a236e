"""Tasks that find the answer to a question in a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_ray.tables.reader import absent_columns, header, records
from flare_ray.tasks import _scores
from flare_ray.tasks._rows import Row, Unusable, text_fault
from flare_ray.tasks._squad import answers_of, questions
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa


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
        """The first line that is not blank."""
        return next((line.strip() for line in generated.split("\n") if line.strip()), None)

    def gold(self, table: pa.Table) -> list[tuple[str, ...]]:
        """Each row's answers, each text once."""
        every = table["answers"].to_pylist()
        return [tuple(dict.fromkeys(answer["text"] for answer in answers)) for answers in every]

    def score(self, gold: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
        """Exact match, F1 and unparsed, in points."""
        return _scores.squad(gold, predictions)

    def answered(self, file: Path, *, labelled: bool = True) -> Iterator[Row]:
        """All rows of a file: SQuAD JSON or, of a translation, also columns context and question, maybe id."""
        if file.suffix == ".json":
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


def _listed(value: Any) -> list[dict[str, Any]]:
    """Answers of a JSON line; none of a text column, which has no place for offsets."""
    return answers_of(value) if isinstance(value, list | dict) else []


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
