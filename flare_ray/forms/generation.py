"""Generation: the task as a prompt, the label's name or the answer as what follows (paper: Llama and Gemma).

A prompt that is too long loses tokens of its first text (a question's context) and, where that is not enough, of
the next, never its end: in training those that the answer can spare, in evaluation the last ones, as nothing may
know where the answer is. Or, where the reading has `windows`, the first text is read in overlapping windows, each a
prompt of its own: in training the one with the answer, in evaluation all of them, and the answer with the highest
likelihood wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flare_ray.forms._answers import NOT_IN_PROMPT, TOO_LONG, fits, is_read
from flare_ray.forms._features import Builder, Features, pad
from flare_ray.forms._likelihood import AnswerLikelihood
from flare_ray.forms._prompts import Prompt
from flare_ray.forms._reading import USUAL, ReadingOptions
from flare_ray.forms.base import ROWS_PER_CALL, Form, Prediction
from flare_ray.plain_text import encode_text
from flare_ray.tasks._question_answering import has_line_breaks
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
MAX_ANSWER = USUAL.max_answer
"""Longest free answer in tokens, the end-of-sequence token included; at most a quarter of the sequence."""


class Generation(Form):
    """Sequences of prompt and answer; only the answer's tokens are in the loss."""

    name = "generation"
    auto_class = "AutoModelForCausalLM"
    task_type = "CAUSAL_LM"
    padding_side = "left"

    def prepare(self, model: Any) -> None:
        """Answers are greedy whatever the checkpoint's generation_config.json says: it has no say in them."""
        from transformers import GenerationConfig

        given = model.generation_config
        tokens = ("bos_token_id", "eos_token_id", "pad_token_id")
        model.generation_config = GenerationConfig(**{name: getattr(given, name, None) for name in tokens})

    def encode(
        self,
        task: Task,
        table: pa.Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        training: bool,
        reading: ReadingOptions = USUAL,
    ) -> Features:
        """by_sequence prompt: tokens before the answer; room: tokens kept for any answer and its end.

        Of windows also shown [2]: which characters of the context. counts: rows whose text or answer was cut. lost:
        rows of which no gold answer is in the prompt, or none is short enough. A row without an answer (a
        translation's) has an empty one. Raises ValueError for a `max_length` in which windows have no room.
        """
        builder, counts = Builder(), {"truncated": 0, "answer_cut": 0}
        lost = {reason: np.zeros(table.num_rows, bool) for reason in (NOT_IN_PROMPT, TOO_LONG)}
        room = answer_room(task, tokenizer, max_length, reading.max_answer)
        for start in range(0, table.num_rows, ROWS_PER_CALL):
            rows = table.slice(start, ROWS_PER_CALL).to_pylist()
            prompts = [task.prompt(row) for row in rows]
            encoded = encode_text(tokenizer, prompts, return_offsets_mapping=True, verbose=False)
            golds = ["" if row.get("answers") == [] else task.answer(row) for row in rows]
            answers = encode_text(tokenizer, golds, add_special_tokens=False)["input_ids"]
            for k, row in enumerate(rows):
                prompt = Prompt(task, row, np.asarray(encoded["offset_mapping"][k]).reshape(-1, 2))
                tokens = np.asarray(encoded["input_ids"][k], np.int32)
                masks = _masks(prompt, max_length - room, training, reading)
                answer = [*answers[k][: room - 1], tokenizer.eos_token_id]
                counts["truncated"] += not masks[0].all()
                counts["answer_cut"] += len(answers[k]) > room - 1
                for mask in masks:
                    sizes: dict[str, Any] = {"prompt": int(mask.sum()), "room": room}
                    if _has_windows(task, reading):
                        sizes["shown"] = prompt.characters(task.text_columns[0], mask)
                    builder.add(np.concatenate([tokens[mask], answer]), sizes, row=start + k)
                gold = row.get("answers")
                if gold and not masks[0].all():
                    lost[NOT_IN_PROMPT][start + k] = not is_read(
                        gold, [t for m in masks for t in prompt.texts(m)]
                    )
                if gold and len(answers[k]) > reading.max_answer:
                    lost[TOO_LONG][start + k] = not fits(gold, tokenizer, reading.max_answer)
        return builder.finish(table, counts, lost, reading)

    def read(self, features: Features, index: int, training: bool) -> np.ndarray:
        """With the answer in training, without it in evaluation."""
        if index < 0:
            return features.tokens[:0]
        tokens = features.sequence(index)
        return tokens if training else tokens[: features.by_sequence["prompt"][index]]

    def targets(self, features: Features, sequences: Sequence[int], width: int) -> dict[str, torch.Tensor]:
        """labels: long [b, n], -100 on prompt and padding."""
        labels = []
        for index in sequences:
            tokens = features.sequence(index).astype(np.int64)
            tokens[: features.by_sequence["prompt"][index]] = IGNORED
            labels.append(tokens)
        return {"labels": pad(labels, IGNORED)}

    def items(self, features: Features) -> np.ndarray:
        """Answer tokens: the loss is their mean."""
        return features.lengths - features.by_sequence["prompt"]

    def texts(self, task: Task, features: Features, sequences: Sequence[int]) -> list[str]:
        """The prompts, of a window with its part of the context."""
        rows = features.table.take(features.row_of[list(sequences)]).to_pylist()
        if "shown" in features.by_sequence:
            column = task.text_columns[0]
            for row, (begin, end) in zip(rows, features.by_sequence["shown"][list(sequences)], strict=True):
                row[column] = row[column][begin:end]
        return [task.prompt(row) for row in rows]

    def glue(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """A line break between two prompts."""
        return list(tokenizer("\n", add_special_tokens=False)["input_ids"])

    def reserved(self, features: Features, index: int) -> int:
        """The prompt, and room for any answer."""
        return int(features.by_sequence["prompt"][index] + features.by_sequence["room"][index])

    def shifted(self, name: str, value: Any, shift: int) -> Any:
        """The source's prompt is part of the prompt."""
        return value + shift if name == "prompt" else value

    def predict(
        self,
        model: Any,
        inputs: dict[str, Any],
        features: Features,
        sequences: Sequence[int],
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        synced: Mapping[str, Any],
    ) -> list[Prediction]:
        """What is generated greedily, and what the task makes of it.

        score: of windows, the log-likelihood of what is generated, its end included; else 0.
        """
        width = inputs["input_ids"].shape[1]
        longest, likelihood = features.reading.max_answer, None
        scored: dict[str, Any] = {}
        if _has_windows(task, features.reading):
            likelihood = AnswerLikelihood(width, tokenizer.eos_token_id)
            scored["logits_processor"] = likelihood.processors()
        out = model.generate(
            **inputs,
            max_new_tokens=answer_room(task, tokenizer, 4 * longest, longest),
            do_sample=False,
            num_beams=1,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **scored,
            **synced,
        )
        texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        scores = likelihood.sums() if likelihood else [0.0] * len(texts)
        lines = answers_have_lines(features)
        return [
            {"prediction": task.parse(text if lines else first_line(text)), "score": score, "generated": text}
            for text, score in zip(texts, scores, strict=True)
        ]


def answer_room(task: Task, tokenizer: Any, max_length: int, longest: int = MAX_ANSWER) -> int:
    """Tokens kept free for the answer and its end: the longest label's, or a share of the sequence."""
    if not task.labels:
        return min(longest, max(2, max_length // 4))
    labels = tokenizer([task.answer({"label": label}) for label in task.labels], add_special_tokens=False)
    return 1 + max(map(len, labels["input_ids"]))


def answers_have_lines(features: Features) -> bool:
    """Return whether a split has answers of several lines; in any other one an answer ends with its first line."""
    return "answers" in features.table.column_names and has_line_breaks(features.table)


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return next((line for line in text.split("\n") if line.strip()), "")


def _has_windows(task: Task, reading: ReadingOptions) -> bool:
    return reading.windows and not task.labels


def _masks(prompt: Prompt, limit: int, training: bool, reading: ReadingOptions) -> list[np.ndarray]:
    """Return which tokens of a prompt are read, bool [tokens], once or for each window."""
    if not _has_windows(prompt.task, reading) or len(prompt.offsets) <= limit:
        return [prompt.cut(limit, training)]
    windows = prompt.windows(limit)
    if not training or not prompt.row.get("answers"):
        return windows
    held = prompt.best_window(windows)
    return [prompt.cut(limit, training) if held is None else held]


FORM = Generation()
