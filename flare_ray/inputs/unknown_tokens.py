"""The share of tokens that a tokenizer does not know: a script that it has never seen, or no vocabulary at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.inputs.findings import Findings
from flare_ray.inputs.tokenizers import (
    is_here,
    load_tokenizer_of,
    special_token_problems,
    tokenizer_identity,
    vocabulary_problem,
    vocabulary_size,
)
from flare_ray.plan.checkpoints import is_local, local_path, read_config
from flare_ray.plan.grid import data_source
from flare_ray.plan.schema import ModelSpec, Sweep
from flare_ray.tasks._remembered import remembered
from flare_ray.tasks.base import SPLITS, Task

MOST = 0.25
"""Share of unknown tokens from which on a split is refused: half the tokens of a script that SentencePiece lacks."""
WORTH_A_WARNING = 0.01
IN_BYTES = 1.5
"""Tokens per character from which on a warning says that a script is read as bytes: it has no unknown tokens."""
_SAMPLED = 200  # rows of a split
_VERSION = "3"


def unknown_share(tokenizer: Any, texts: Sequence[str]) -> float:
    """Return the share of unknown tokens among the tokens of some texts, special tokens left out."""
    unknown = tokenizer.unk_token_id
    if unknown is None or not texts:
        return 0.0
    sequences = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    total = sum(map(len, sequences))
    return sum(tokens.count(unknown) for tokens in sequences) / total if total else 0.0


def tokens_per_character(tokenizer: Any, texts: Sequence[str]) -> float:
    """Return the mean number of tokens per character that is no space; 0 for no text."""
    characters = sum(len("".join(text.split())) for text in texts)
    if not characters:
        return 0.0
    return sum(map(len, tokenizer(list(texts), add_special_tokens=False)["input_ids"])) / characters


def unknown_problem(share: float, language: str, split: str, checkpoint: str) -> Problem | None:
    """Return the problem of a split with too many unknown tokens. share: 0 to 1."""
    if share < MOST:
        return None
    got = f"{share:.0%} of the tokens of the {language} {split} split are unknown to {checkpoint}'s tokenizer"
    expected = "a checkpoint that knows the script, with its own tokenizer"
    return Problem("unknown tokens", got, expected)


def check_unknown_tokens(sweep: Sweep, findings: Findings) -> None:
    """Find tokenizers that are not their models', and splits that they do not know, in a sample of local rows."""
    for model in sweep.models:
        if not is_here(model.checkpoint) or not any(is_local(data_source(sweep, t)) for t in sweep.tasks):
            continue
        known = _Tokenizer(model)
        try:
            if problems := known.vocabulary():
                findings.add(problems)
                continue
            for name in sweep.tasks:
                shares = list(_shares(sweep, name, known))
                _report(shares, model.name, name, findings)
        except InputError as error:
            findings.add(error.problems)


class _Tokenizer:
    """A model's tokenizer, loaded when something is not remembered."""

    def __init__(self, model: ModelSpec):
        self.model, self.identity = model, tokenizer_identity(model.checkpoint)
        self._loaded: Any = None

    @property
    def loaded(self) -> Any:
        if self._loaded is None:
            self._loaded = load_tokenizer_of(self.model)
        return self._loaded

    def vocabulary(self) -> list[Problem]:
        """Return why it cannot be its model's."""
        checkpoint = self.model.checkpoint
        if not is_local(checkpoint):
            return []
        config = read_config(local_path(checkpoint))
        architecture = registry.load("models", self.model.family).architecture

        def compute() -> list[list[str]]:
            problem = vocabulary_problem(self.loaded, vocabulary_size(config), checkpoint)
            findings = [problem] if problem else []
            findings = findings or special_token_problems(self.loaded, config, architecture, checkpoint)
            return [
                [problem_found.where, problem_found.found, problem_found.wanted] for problem_found in findings
            ]

        key = {
            "check": "vocabulary",
            "version": _VERSION,
            "tokenizer": self.identity,
            "checkpoint": checkpoint,
            "architecture": architecture,
            "config": config,
        }
        return [Problem(*stored) for stored in remembered(key, compute)]


def _shares(sweep: Sweep, name: str, tokenizer: _Tokenizer) -> Iterator[tuple[str, str, float, float]]:
    """Yield (language, split, share of unknown tokens, tokens per character) of a task's local rows."""
    task, source = registry.load("tasks", name), data_source(sweep, name)
    if not is_local(source):
        return
    targets = task.targets(source)
    chosen = targets if sweep.languages == "all" else [code for code in sweep.languages if code in targets]
    for language in [task.source_language, *chosen]:
        for split in SPLITS:
            if task.part(local_path(source), language, split) is None:
                continue
            key = {
                "check": "unknown tokens",
                "version": _VERSION,
                "tokenizer": tokenizer.identity,
                "rows": task.fetched_as(source, language, split),
            }
            measured = partial(_measured, tokenizer, task, source, language, split)
            share, per_character = remembered(key, measured)
            yield language, split, share, per_character


def _measured(tokenizer: _Tokenizer, task: Task, source: str, language: str, split: str) -> list[float]:
    texts = _texts(task, source, language, split)
    return [unknown_share(tokenizer.loaded, texts), tokens_per_character(tokenizer.loaded, texts)]


def _texts(task: Task, source: str, language: str, split: str) -> list[str]:
    """Return the texts of a split's first rows."""
    table = task.read(source, language, split, max_dropped=1.0).table.slice(0, _SAMPLED)
    return [text for column in task.text_columns for text in table[column].to_pylist()]


def _report(
    shares: Iterable[tuple[str, str, float, float]], model: str, task: str, findings: Findings
) -> None:
    """Add a problem for each split beyond the bound, and one warning for all others that are worth one."""
    some, in_bytes = [], []
    for language, split, share, per_character in shares:
        if per_character >= IN_BYTES:
            in_bytes.append(f"{language} {split} {per_character:.1f} tokens per character")
        if problem := unknown_problem(share, language, f"{task} {split}", model):
            findings.add([problem])
        elif share >= WORTH_A_WARNING:
            some.append(f"{language} {split} {share:.1%}")
    if in_bytes:
        got = f"{model} on {task}: {', '.join(in_bytes)}; the tokenizer reads the script as bytes"
        findings.add(warnings=[Problem("tokens", got, "a tokenizer that knows the script")])
    if some:
        got = f"{model} on {task}: {', '.join(some)}"
        findings.add(
            warnings=[Problem("unknown tokens", got, "a tokenizer that knows the script, or fewer of them")]
        )
