"""Gold answers that a model cannot give: outside of what it reads, too long, or at the edge of no token.

Each is a ceiling of exact match, whatever the method. Rows on this machine are encoded as a run encodes them, once
per tokenizer, length and content; rows on the hub, and translations to come, are counted by the run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.forms._answers import NO_SPAN, NOT_IN_PROMPT, TOO_LONG, ceiling_text
from flare_ray.forms._reading import ReadingOptions
from flare_ray.inputs.findings import Findings
from flare_ray.inputs.positions import positions
from flare_ray.inputs.tokenizers import is_here, tokenizer_identity
from flare_ray.plan.checkpoints import is_local, local_path
from flare_ray.plan.grid import Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.tasks._remembered import remembered
from flare_ray.tasks.base import Task

_VERSION = "1"
_SPLITS = ("validation", "test")
"""In training the cut is steered by the answer; what is lost there is counted by the run."""
_WORTH_A_WARNING = {"validation": 0.01, "test": 0.0}
"""Share of a split's rows above which a warning is worth it."""
_REMEDIES = {
    NOT_IN_PROMPT: "a larger max_length (overrides: for a model or language), or reading.windows: true",
    TOO_LONG: "a larger reading.max_answer",
    NO_SPAN: "a larger reading.max_answer where answers are long, a tokenizer with smaller tokens, or a decoder",
}


@dataclass(frozen=True)
class Encoding:
    """What determines how a split is encoded, but for its language. length: max_length, in tokens."""

    model: ModelSpec
    task: str
    source: str
    length: int
    reading: ReadingOptions

    @property
    def label(self) -> str:
        """Names the encoding in a message."""
        return f"{self.model.name} on {self.task} at {self.length} tokens"


def check_answers(runs: Iterable[Run], findings: Findings) -> None:
    """Warn of test and validation rows whose gold answers cannot be given, one line per model, task and reason."""
    languages: dict[Encoding, dict[str, None]] = {}
    for run in runs:
        for encoding, language in _read(run):
            languages.setdefault(encoding, {})[language] = None
    tokenizers: dict[str, Any] = {}
    for encoding, spoken in languages.items():
        try:
            findings.add(warnings=_warnings(encoding, spoken, tokenizers))
        except InputError:  # of a checkpoint or of rows, reported by other checks
            continue
        except ValueError as error:
            findings.add([Problem(f"max_length for {encoding.label}", str(error), "a larger max_length")])


def _read(run: Run) -> Iterator[tuple[Encoding, str]]:
    """Yield the encodings of the rows that a run and its base model predict, with their languages."""
    model, source = run.cell.model, run.base.source
    task = registry.load("tasks", run.cell.task)
    if task.kind != "question_answering" or not is_here(model.checkpoint):
        return
    if not is_local(source):  # the sandbox's texts are made to fit
        return
    method = registry.load("methods", run.cell.method)
    lengths = run.settings["max_length"], run.base.settings["max_length"]
    length = lengths[0]
    if method.joins:  # both texts must have room in one input
        limit = positions(model.checkpoint)
        length = min(length, limit // 2) if limit else length
    if method.reads != "source":
        yield (
            Encoding(model, run.cell.task, source, length, ReadingOptions.of(run.settings)),
            run.cell.language,
        )
    base = Encoding(model, run.cell.task, source, lengths[1], ReadingOptions.of(run.base.settings))
    yield base, task.source_language


def _warnings(encoding: Encoding, languages: Iterable[str], tokenizers: dict[str, Any]) -> list[Problem]:
    """Return a warning for each reason and split that some rows of some languages are lost for."""
    lost: dict[tuple[str, str], list[str]] = {}
    for language in languages:
        for split in _SPLITS:
            counts = _counts(encoding, language, split, tokenizers)
            for reason, count in counts["lost"].items():
                if count > _WORTH_A_WARNING[split] * counts["rows"]:
                    text = ceiling_text(language, count, counts["rows"])
                    lost.setdefault((reason, split), []).append(text)
    return [
        Problem(encoding.label, f"{reason}, {split}: {', '.join(texts)}", _REMEDIES[reason])
        for (reason, split), texts in lost.items()
    ]


def _counts(encoding: Encoding, language: str, split: str, tokenizers: dict[str, Any]) -> Mapping[str, Any]:
    """Return how many rows a split has, and how many of them are lost by reason."""
    task = registry.load("tasks", encoding.task)
    if task.part(local_path(encoding.source), language, split) is None:
        return {"rows": 0, "lost": {}}
    key = {
        "check": "answers",
        "version": _VERSION,
        "tokenizer": tokenizer_identity(encoding.model.checkpoint),
        "family": encoding.model.family,
        "length": encoding.length,
        "reading": vars(encoding.reading),
        "rows": task.fetched_as(encoding.source, language, split),
    }
    return dict(remembered(key, partial(_encoded, task, encoding, language, split, tokenizers)))


def _encoded(
    task: Task, encoding: Encoding, language: str, split: str, tokenizers: dict[str, Any]
) -> dict[str, Any]:
    name = encoding.model.name
    if name not in tokenizers:
        tokenizers[name] = registry.load("models", encoding.model.family).tokenizer(encoding.model.checkpoint)
    table = task.read(encoding.source, language, split, max_dropped=1.0).table
    form = registry.load("models", encoding.model.family).form(task.kind)
    features = form.encode(task, table, tokenizers[name], encoding.length, False, encoding.reading)
    return {"rows": table.num_rows, "lost": features.lost_counts}
