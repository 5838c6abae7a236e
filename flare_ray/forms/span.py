"""Span extraction: where in the context the answer starts and ends (paper: XLM-R and mT5 on TyDiQA).

A context that does not fit is cut in overlapping windows, each a sequence of its own with the whole question; a
window without the answer points at its first token in training, and of a row's windows the best span wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flare_ray.forms._answers import NO_SPAN, covering, spans_give
from flare_ray.forms._features import Builder, Features
from flare_ray.forms._graphemes import with_marks
from flare_ray.forms._reading import USUAL, ReadingOptions
from flare_ray.forms.base import ROWS_PER_CALL, Form, Prediction
from flare_ray.plain_text import encode_text
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

MAX_ANSWER = USUAL.max_answer
"""Longest answer in tokens: scripts that a tokenizer cuts finely need more than SQuAD's usual 30."""


class Span(Form):
    """Start and end logits [b, n]; answers are cut out of the context by character offsets."""

    name = "span"
    auto_class = "AutoModelForQuestionAnswering"
    task_type = "QUESTION_ANS"

    def prepare(self, model: Any) -> None:
        """The loss leaves padding out."""
        model.register_forward_hook(loss_of_real_tokens, with_kwargs=True)

    def encode(
        self,
        task: Task,
        table: pa.Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        training: bool,
        reading: ReadingOptions = USUAL,
    ) -> Features:
        """Windows of question and context. counts: `windowed` rows, and rows whose answer is whole in none.

        lost: rows of which no span within the longest answer gives a gold answer. by_token offsets [tokens, 2]:
        characters of the context, -1 outside of it. by_sequence span [2]: first and last token of the first gold
        answer, 0 and 0 where the window lacks it. Raises ValueError for a `max_length` that leaves a long question's
        context no room.
        """
        builder, windowed, cut = Builder(), 0, 0
        lost = np.zeros(table.num_rows, bool)
        longest_question, room = max_length // 2, _room(tokenizer, max_length)
        for start in range(0, table.num_rows, ROWS_PER_CALL):
            part = table.slice(start, ROWS_PER_CALL)
            questions = _shortened(part["question"].to_pylist(), tokenizer, longest_question)
            encoded = encode_text(
                tokenizer,
                questions,
                part["context"].to_pylist(),
                truncation="only_second",
                max_length=max_length,
                stride=min(max_length // 4, room - 2),  # a question cut again may have a token more
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            windows = np.asarray(encoded["overflow_to_sample_mapping"])
            first = np.searchsorted(windows, np.arange(part.num_rows + 1))
            windowed += int((np.diff(first) > 1).sum())
            for row, (context, answers) in enumerate(_contexts(part)):
                mine = range(first[row], first[row + 1])
                offsets = with_marks(context, [_context_offsets(encoded, index) for index in mine])
                spans = [_span(one, answers[0] if answers else None) for one in offsets]
                for index, span, one in zip(mine, spans, offsets, strict=True):
                    builder.add(encoded["input_ids"][index], {"span": span}, {"offsets": one}, start + row)
                cut += all(span == (0, 0) for span in spans)
                lost[start + row] = bool(answers) and not spans_give(
                    context, answers, offsets, reading.max_answer
                )
        counts = {"windowed": windowed, "answer_cut": cut}
        return builder.finish(table, counts, {NO_SPAN: lost}, reading)

    def targets(self, features: Features, sequences: Sequence[int], width: int) -> dict[str, torch.Tensor]:
        """start_positions and end_positions, long [b]."""
        spans = torch.from_numpy(features.by_sequence["span"][list(sequences)].astype("int64"))
        return {"start_positions": spans[:, 0], "end_positions": spans[:, 1]}

    def shifted(self, name: str, value: Any, shift: int) -> Any:
        """Spans move with their tokens; 0 stays the place of no answer."""
        return value + shift if name == "span" and value.any() else value

    def texts(self, task: Task, features: Features, sequences: Sequence[int]) -> list[str]:
        """The question and the window's part of the context."""
        texts = []
        columns = (features.strings(name, sequences) for name in ("question", "context"))
        for index, question, context in zip(sequences, *columns, strict=True):
            offsets = features.of_token("offsets", index)
            real = offsets[offsets[:, 0] >= 0]
            texts.append(f"{question} {context[real[0, 0] : real[-1, 1]]}" if len(real) else question)
        return texts

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
        """The best span's text, its first character and the sum of its logits."""
        output = model(**inputs)
        starts, ends = output.start_logits.float(), output.end_logits.float()
        offsets = [features.of_token("offsets", index) for index in sequences]
        inside = torch.zeros(starts.shape, dtype=torch.bool)
        for place, mine in enumerate(offsets):
            inside[place, : len(mine)] = torch.from_numpy(mine[:, 0] >= 0)
        longest = features.reading.max_answer
        score, first, last = best_span(starts, ends, inside.to(starts.device), longest)
        found = []
        for place, context in enumerate(features.strings("context", sequences)):
            begin, end = offsets[place][first[place], 0], offsets[place][last[place], 1]
            text = context[begin:end] if score[place] > -np.inf else ""
            skipped = len(text) - len(text.lstrip())
            found.append({"prediction": text.strip(), "score": score[place], "start": int(begin) + skipped})
        return found


def loss_of_real_tokens(model: Any, args: Any, given: Mapping[str, Any], output: Any) -> None:
    """The loss of a span over real tokens.

    transformers' own lets padding take part in the softmax, so that a row's loss would depend on what it is padded
    with: on micro-batch and workers. X-Mixup's losses leave padding out as well.
    """
    if given.get("start_positions") is None:
        return
    padding = ~given["attention_mask"].bool()
    parts = [
        torch.nn.functional.cross_entropy(
            logits.float().masked_fill(padding, torch.finfo(torch.float32).min), given[f"{end}_positions"]
        )
        for end, logits in (("start", output.start_logits), ("end", output.end_logits))
    ]
    output.loss = (parts[0] + parts[1]) / 2


def best_span(
    starts: torch.Tensor, ends: torch.Tensor, inside: torch.Tensor, longest: int | None = None
) -> tuple[list[float], list[int], list[int]]:
    """Highest start + end logit of each row over spans of 1 to `longest` tokens that begin and end `inside`.

    starts, ends, inside: [b, n]. longest: MAX_ANSWER when left out. Returns score (-inf where nothing is inside),
    first and last token.
    """
    starts, ends = (logits.masked_fill(~inside, -torch.inf) for logits in (starts, ends))
    width = starts.shape[1]
    best = [(starts[:, : width - k] + ends[:, k:]).max(1) for k in range(min(longest or MAX_ANSWER, width))]
    score, length = torch.stack([one.values for one in best]).max(0)
    first = torch.stack([one.indices for one in best]).gather(0, length[None])[0]
    return score.tolist(), first.tolist(), (first + length).tolist()


def _shortened(questions: list[str], tokenizer: Any, room: int) -> list[str]:
    """Questions whose end is cut where they would leave the context no room."""
    encoded = encode_text(tokenizer, questions, add_special_tokens=False, return_offsets_mapping=True)
    return [
        question if len(offsets) <= room else question[: offsets[room - 1][1]]
        for question, offsets in zip(questions, encoded["offset_mapping"], strict=True)
    ]


def _context_offsets(encoded: Any, index: int) -> np.ndarray:
    """Character offsets [n, 2] of a window's context tokens, -1 for the other tokens."""
    offsets = np.asarray(encoded["offset_mapping"][index], np.int32).reshape(-1, 2)
    parts = encoded.sequence_ids(index)
    offsets[[part != 1 for part in parts]] = -1
    return offsets


def _room(tokenizer: Any, max_length: int) -> int:
    """Return how many tokens the longest question leaves its context. Raises ValueError for none."""
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - max_length // 2
    if room < 4:
        raise ValueError(f"max_length {max_length} leaves a question and its context no room: at least 16")
    return int(room)


def _contexts(part: pa.Table) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each row's context and gold answers."""
    yield from zip(part["context"].to_pylist(), part["answers"].to_pylist(), strict=True)


def _span(offsets: np.ndarray, answer: dict[str, Any] | None) -> tuple[int, int]:
    """First and last token that cover an answer's characters; (0, 0) when the window does not hold all of it."""
    if answer is None:
        return 0, 0
    return covering(offsets, answer["start"], answer["start"] + len(answer["text"]))


FORM = Span()
