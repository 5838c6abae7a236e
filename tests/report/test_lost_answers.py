"""Below the tables: test rows that no prediction can answer exactly."""

from __future__ import annotations

from typing import Any

from flare_ray.forms import _answers as answers
from flare_ray.report import lost_answers
from flare_ray.report.lost_answers import lost_answer_notes
from flare_ray.report.results import RunResult

CUT = "answer not in the prompt"


def run(
    language: str, lost: Any, method: str = "lora", rows: Any = 4, reason: str = CUT, length: int = 512
) -> RunResult:
    facts = {"model": "llama", "task": "tydiqa", "language": language, "method": method}
    record = {"data": {"test": {reason: lost, "truncated": 4}, "train": {CUT: 2}}, "rows": {"test": rows}}
    return RunResult(facts | {"settings": {"max_length": length}}, "translate-train", "finished", record)


def test_each_model_and_reason_has_a_line_with_its_languages() -> None:
    runs = [run("tel", 3, method) for method in ("lora", "flare")] + [
        run("ben", 1, method, rows=400) for method in ("lora", "flare")
    ]
    assert lost_answer_notes([*runs, *runs, run("fin", 0)]) == [
        "llama on tydiqa at 512 tokens: answer not in the prompt, test: "
        "tel 3 of 4 rows (exact match cannot pass 25.0), ben 1 of 400 rows (exact match cannot pass 99.8)."
    ]


def test_methods_that_read_other_tokens_and_other_lengths_have_lines_of_their_own() -> None:
    notes = lost_answer_notes([run("tel", 3), run("tel", 4, "input_fusion"), run("tel", 2, length=1024)])
    assert [note.partition(":")[0] for note in notes] == [
        "llama on tydiqa at 512 tokens (lora)",
        "llama on tydiqa at 512 tokens (input_fusion)",
        "llama on tydiqa at 1024 tokens",
    ]


def test_records_that_hold_anything_else_have_no_line() -> None:
    broken: list[Any] = [None, "many", 5, -1, True, [], 0.5]
    runs = [
        run("tel", lost, rows=rows) for lost in broken for rows in (4, None, 0, "4") if lost != 5 or rows != 5
    ]
    assert lost_answer_notes(one for one in runs if one.record is not None) == []
    facts = run("tel", 1).facts
    for record in (None, {}, {"data": 3, "rows": 4}, {"data": {"test": 1}, "rows": {"test": 4}}):
        assert lost_answer_notes([RunResult(facts, "", "missing", record)]) == []


def test_the_reasons_are_those_that_forms_count() -> None:
    assert lost_answers.REASONS == answers.REASONS
