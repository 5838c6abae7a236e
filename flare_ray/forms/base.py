"""What a form is: rows to features, features to a model's arguments, a model's answer to predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from flare_ray.forms._features import Builder, Features, tokens_and_mask
from flare_ray.forms._reading import USUAL, ReadingOptions
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

Prediction = dict[str, Any]
"""`prediction` (label name, answer text or None), `score` (of several windows of a row the highest wins), and what
else a form keeps (logits, start, generated)."""

ROWS_PER_CALL = 1000


class Form(ABC):
    """One way to pose tasks. Stateless; the task, the tokenizer and the features are handed in."""

    name: ClassVar[str]
    auto_class: ClassVar[str]
    """The transformers class that loads a checkpoint for this form."""
    task_type: ClassVar[str]
    """PEFT's name for it."""
    padding_side: ClassVar[str] = "right"
    """Where an evaluation's input is padded; training pads on the right."""

    @abstractmethod
    def encode(
        self,
        task: Task,
        table: pa.Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        training: bool,
        reading: ReadingOptions = USUAL,
    ) -> Features:
        """Rows as sequences of at most `max_length` tokens. training: whether gold answers may steer a cut."""

    def prepare(self, model: Any) -> None:
        """What a loaded model still needs for this form; nothing by default."""
        return

    @abstractmethod
    def targets(self, features: Features, sequences: Sequence[int], width: int) -> dict[str, torch.Tensor]:
        """The labels a training pass takes for sequences padded on the right to `width`."""

    @abstractmethod
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
        """What the model says to each sequence, given the model's arguments for them.

        synced: what `generate` must know where workers pass in step (ZeRO-3).
        """

    def inputs(
        self,
        features: Features,
        sequences: Sequence[int],
        tokenizer: PreTrainedTokenizerBase,
        training: bool,
    ) -> dict[str, torch.Tensor]:
        """A model's arguments: input_ids and attention_mask [b, n], and the labels when training.

        -1 among the sequences is a sequence without a token.
        """
        pieces = [self.read(features, index, training) for index in sequences]
        assert isinstance(tokenizer.pad_token_id, int)
        side = "right" if training else self.padding_side
        found = tokens_and_mask(pieces, tokenizer.pad_token_id, side)
        if training:
            found |= self.targets(features, sequences, found["input_ids"].shape[1])
        return found

    def read(self, features: Features, index: int, training: bool) -> np.ndarray:
        """The tokens of a sequence that go into a pass; none for index -1."""
        return features.tokens[:0] if index < 0 else features.sequence(index)

    def prompt(self, features: Features, index: int) -> np.ndarray:
        """The tokens a source shows: all of them, but for an answer."""
        return self.read(features, index, training=False)

    def items(self, features: Features) -> np.ndarray:
        """In how many terms of a mean loss each sequence has a part, [sequences]."""
        return np.ones(len(features), np.int64)

    def texts(self, task: Task, features: Features, sequences: Sequence[int]) -> list[str]:
        """The text of each sequence, for a translation model's encoder."""
        columns = [features.strings(column, sequences) for column in task.text_columns]
        return [" ".join(parts) for parts in zip(*columns, strict=True)]

    def glue(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """What stands between two texts of one input, by the tokenizer's own template for pairs."""
        ids, marks = _ids(tokenizer, "a", "b")
        plain = [k for k, mark in enumerate(marks) if not mark]
        return [ids[k] for k in range(plain[0], plain[-1]) if marks[k]]

    def join(
        self, target: Features, source: Features, source_of: np.ndarray, tokenizer: Any, limit: int
    ) -> Features:
        """Source and target end to end, for input-level fusion: at most `limit` tokens, the source cut first.

        The target's tokens, labels and offsets stay whole; special tokens of the source stay too, so that every
        row keeps the same number of them. Where not even those have room the target stands alone. counts:
        `source_cut`, the rows whose source is not whole.
        """
        _, marks = _ids(tokenizer, "a")
        before, behind = marks.index(0), marks[::-1].index(0)
        glue, special = self.glue(tokenizer), _special(tokenizer)
        builder, source_cut = Builder(), set()
        for index, other in enumerate(source_of.tolist()):
            own, whole = target.sequence(index), self.prompt(source, other)
            if not len(whole):  # no source: its template's special tokens alone, which are the target's
                whole = _cut(self.prompt(target, index), 0, special)
            whole = whole[: len(whole) - behind]
            room = limit - self.reserved(target, index) + before - len(glue)
            head = _cut(whole, room, special)
            if len(head) < len(whole) or len(head) > room:
                source_cut.add(int(target.row_of[index]))
            head = np.concatenate([head, glue]) if len(head) <= room else own[:before]
            shift = len(head) - before
            builder.add(
                np.concatenate([head, own[before:]]),
                {
                    name: self.shifted(name, values[index], shift)
                    for name, values in target.by_sequence.items()
                },
                {
                    name: np.concatenate(
                        [np.full((len(head), *values.shape[1:]), -1), target.of_token(name, index)[before:]]
                    )
                    for name, values in target.by_token.items()
                },
                int(target.row_of[index]),
            )
        counts = {**target.counts, "source_cut": len(source_cut)}
        return builder.finish(target.table, counts, target.lost, target.reading)

    def reserved(self, features: Features, index: int) -> int:
        """Tokens that a joined input keeps free for the target's sequence; a gold answer has no say in it."""
        return len(features.sequence(index))

    def shifted(self, name: str, value: Any, shift: int) -> Any:
        """A `by_sequence` value once `shift` tokens stand before the sequence."""
        return value


def _ids(tokenizer: Any, *texts: str) -> tuple[list[int], list[int]]:
    """Token ids of texts, and which of them are special (1)."""
    ids = tokenizer(*texts)["input_ids"]
    return ids, [int(token in _special(tokenizer)) for token in ids]


def _special(tokenizer: Any) -> set[int]:
    """Ids of special tokens that a template sets; an unknown word is none."""
    return set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}


def _cut(tokens: np.ndarray, room: int, special: set[int]) -> np.ndarray:
    """At most `room` tokens: special ones are kept, of the others the first ones."""
    if len(tokens) <= room:
        return tokens
    marks = np.isin(tokens, list(special))
    plain = max(0, room - int(marks.sum()))
    return tokens[marks | (np.cumsum(~marks) <= plain)]


def best_windows(rows: int, row_of: np.ndarray, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Of each row the window's prediction with the highest score, the first of equals."""
    best: list[Prediction | None] = [None] * rows
    for row, prediction in zip(row_of.tolist(), predictions, strict=True):
        former = best[row]
        if former is None or prediction["score"] > former["score"]:
            best[row] = prediction
    assert all(prediction is not None for prediction in best), "every row has a sequence"
    return [prediction for prediction in best if prediction is not None]
