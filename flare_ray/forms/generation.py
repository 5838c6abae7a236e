"""Generation: the task as a prompt, the label's name or the answer as what follows (paper: Llama and Gemma).

A prompt that is too long loses tokens of its first text (a question's context) and, where that is not enough, of
the next, never its end: in training those that the answer can spare, in evaluation the last ones, as nothing may
know where the answer is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flare_ray.forms._features import Builder, Features, pad
from flare_ray.forms.base import ROWS_PER_CALL, Form, Prediction
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
_PLACE = "\0"  # stands for a text where its place in the prompt is wanted
MAX_ANSWER = 64
"""Longest free answer in tokens, the end-of-sequence token included; at most a quarter of the sequence."""


class Generation(Form):
    """Sequences of prompt and answer; only the answer's tokens are in the loss."""

    name = "generation"
    auto_class = "AutoModelForCausalLM"
    task_type = "CAUSAL_LM"
    padding_side = "left"

    def encode(
        self,
        task: Task,
        table: pa.Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        training: bool,
    ) -> Features:
        """by_sequence prompt: tokens before the answer; room: tokens kept for any answer and its end.

        counts: rows whose text or answer was cut. A row without an answer (a translation's) has an empty one.
        """
        builder, counts = Builder(), {"truncated": 0, "answer_cut": 0}
        room = answer_room(task, tokenizer, max_length)
        for start in range(0, table.num_rows, ROWS_PER_CALL):
            rows = table.slice(start, ROWS_PER_CALL).to_pylist()
            prompts = [task.prompt(row) for row in rows]
            encoded = tokenizer(prompts, return_offsets_mapping=True)
            golds = ["" if row.get("answers") == [] else task.answer(row) for row in rows]
            answers = tokenizer(golds, add_special_tokens=False)["input_ids"]
            for k, row in enumerate(rows):
                offsets = np.asarray(encoded["offset_mapping"][k]).reshape(-1, 2)
                kept = _kept(task, row, offsets, max_length - room, training)
                prompt = np.asarray(encoded["input_ids"][k], np.int32)[kept]
                answer = [*answers[k][: room - 1], tokenizer.eos_token_id]
                counts["truncated"] += len(prompt) < len(kept)
                counts["answer_cut"] += len(answers[k]) > room - 1
                sizes = {"prompt": len(prompt), "room": room}
                builder.add(np.concatenate([prompt, answer]), sizes, row=start + k)
        return builder.finish(table, counts)

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
        """The prompts."""
        rows = features.table.take(features.row_of[list(sequences)]).to_pylist()
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
        """What is generated greedily, and what the task makes of it."""
        width = inputs["input_ids"].shape[1]
        out = model.generate(
            **inputs,
            max_new_tokens=answer_room(task, tokenizer, 4 * MAX_ANSWER),
            do_sample=False,
            num_beams=1,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **synced,
        )
        texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return [{"prediction": task.parse(text), "score": 0.0, "generated": text} for text in texts]


def answer_room(task: Task, tokenizer: Any, max_length: int) -> int:
    """Tokens kept free for the answer and its end: the longest label's, or a share of the sequence."""
    if not task.labels:
        return min(MAX_ANSWER, max(2, max_length // 4))
    labels = tokenizer([task.answer({"label": label}) for label in task.labels], add_special_tokens=False)
    return 1 + max(map(len, labels["input_ids"]))


def _kept(task: Task, row: dict[str, Any], offsets: np.ndarray, limit: int, training: bool) -> np.ndarray:
    """Which tokens of a prompt stay, bool [n]: all, or as many of its texts as `limit` allows, cut from the first."""
    kept = np.ones(len(offsets), bool)
    for column in task.text_columns:
        excess = int(kept.sum()) - limit
        if excess <= 0:
            break
        begin = task.prompt({**row, column: _PLACE}).index(_PLACE)
        end = begin + len(row[column])
        mine = np.flatnonzero((offsets[:, 0] >= begin) & (offsets[:, 1] <= end) & (offsets[:, 1] > 0))
        excess = min(excess, len(mine))
        first = 0
        if training and column == task.text_columns[0] and (answers := row.get("answers")):
            middle = begin + answers[0]["start"] + len(answers[0]["text"]) // 2
            token = int(np.searchsorted(offsets[mine, 0], middle))
            first = min(
                excess, max(0, token - (len(mine) - excess) // 2)
            )  # the answer in the middle, not at an end
        kept[mine] = False
        kept[mine[first : first + len(mine) - excess]] = True
    return kept


FORM = Generation()
