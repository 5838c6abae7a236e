"""Gold answers that a model cannot give are named before anything is trained, with the exact match that is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_sweep
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.inputs import answers

LONG = " ".join(f"word{k}" for k in range(60)) + " the treasure lies in Arden"
SHORT = "The treasure lies in Arden today."
Warn = Callable[..., list[str]]


@pytest.fixture
def warn(tmp_path: Path, small_sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Warn:
    """The warnings of a plan. contexts: each language's test rows; all others are short."""
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"

    def plan(model: str, contexts: dict[str, list[str]], answer: str = "Arden", **fields: Any) -> list[str]:
        shutil.rmtree(data, ignore_errors=True)
        for language, texts in {"english": [SHORT] * 4, **contexts}.items():
            _write(data / f"{language}.test.json", texts, "test", answer)
            for split in ("train", "dev"):
                _write(data / f"{language}.{split}.json", [SHORT], split, "Arden")
        family = "llama" if model == "sandbox-llama" else "xlm_roberta"
        checkpoint = str(small_sandbox / "models" / model)
        sweep: dict[str, Any] = {
            "name": "answers",
            "models": [{"name": model, "family": family, "checkpoint": checkpoint}],
            "tasks": ["tydiqa"],
            "methods": ["zero_shot", "lora"],
            "seeds": [1],
            "data": {"tydiqa": str(data)},
            "training": {"max_length": 256},
            "base": {"max_length": 256},
            "storage": str(tmp_path / "results"),
        }
        file = write_sweep(tmp_path / "sweep.yaml", {**sweep, **fields})
        done = CliRunner().invoke(app, ["plan", str(file)])
        assert done.exit_code == 0, done.output
        return [line.strip() for line in done.output.splitlines() if "exact match cannot pass" in line]

    return plan


def _write(file: Path, contexts: list[str], split: str, answer: str) -> None:
    file.parent.mkdir(exist_ok=True)
    paragraphs = []
    for number, context in enumerate(contexts):
        gold = {"text": answer, "answer_start": context.index(answer)}
        one = {"id": f"{split}-{number}", "question": "Where does it lie?", "answers": [gold]}
        paragraphs.append({"context": context, "qas": [one]})
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")


def test_answers_outside_of_the_prompt_are_named_by_language_with_the_ceiling(warn: Warn) -> None:
    (line,) = warn("sandbox-llama", {"xx": [SHORT, SHORT, SHORT, LONG], "yy": [LONG, SHORT], "zz": [SHORT]})
    assert "sandbox-llama on tydiqa at 256 tokens" in line
    assert "answer not in the prompt, test: xx 1 of 4 rows (exact match cannot pass 75.0)" in line
    assert "yy 1 of 2 rows (exact match cannot pass 50.0)" in line
    assert "zz" not in line
    for remedy in ("max_length", "reading.windows: true"):
        assert remedy in line


@pytest.mark.parametrize(
    "remedy",
    [
        {"reading": {"windows": True}},
        {"overrides": [{"language": "xx", "training": {"max_length": 512}}]},
        {"overrides": [{"model": "sandbox-llama", "reading": {"windows": True}}]},
    ],
)
def test_each_remedy_ends_the_warning(warn: Warn, remedy: dict[str, Any]) -> None:
    assert warn("sandbox-llama", {"xx": [LONG, SHORT]})
    assert warn("sandbox-llama", {"xx": [LONG, SHORT]}, **remedy) == []


def test_a_span_head_reads_windows_and_has_a_longest_answer(warn: Warn) -> None:
    assert warn("sandbox-xlm-r", {"xx": [LONG, SHORT]}) == []
    long = LONG[:400].strip()
    contexts = {"english": [LONG], "xx": [LONG, LONG]}
    lines = warn(
        "sandbox-xlm-r", contexts, answer=long, training={"max_length": 512}, base={"max_length": 512}
    )
    assert len(lines) == 1
    assert (
        "answer no span can give, test: xx 2 of 2 rows (exact match cannot pass 0.0), eng 1 of 1" in lines[0]
    )
    raised = {"training": {"max_length": 512}, "base": {"max_length": 512}, "reading": {"max_answer": 500}}
    assert warn("sandbox-xlm-r", contexts, answer=long, **raised) == []


def test_what_was_counted_is_not_counted_again(warn: Warn, monkeypatch: pytest.MonkeyPatch) -> None:
    before = warn("sandbox-llama", {"xx": [LONG]})
    monkeypatch.setattr(answers, "_encoded", lambda *what: pytest.fail("encoded once more"))
    assert warn("sandbox-llama", {"xx": [LONG]}) == before
