"""The likelihood of greedily generated answers, added up step by step: logits of a whole vocabulary are not kept."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor, LogitsProcessorList


class AnswerLikelihood(LogitsProcessor):
    """Log-probabilities of what greedy decoding chooses, summed per row up to the end token, it included.

    width: tokens of the prompts, padding counted. Scores pass through unchanged.
    """

    def __init__(self, width: int, end: int):
        self.width, self.end = width, end
        self._sums: torch.Tensor | None = None

    def processors(self) -> LogitsProcessorList:
        """Return the argument `logits_processor` of `generate`."""
        return LogitsProcessorList([self])

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Add this step's log-probabilities. input_ids: [b, n]; scores: logits [b, vocabulary]."""
        chosen = scores.float().log_softmax(-1).max(-1).values
        ended = (input_ids[:, self.width :] == self.end).any(1)
        step = chosen.masked_fill(ended, 0.0)
        self._sums = step if self._sums is None else self._sums + step
        return scores

    def sums(self) -> list[float]:
        """Return each row's log-likelihood."""
        return [] if self._sums is None else self._sums.tolist()
