"""Rows as tokens: encoded once per pack, padded only within a micro-batch.

A split is two flat arrays, the tokens of all rows end to end and where each row begins, so that a corpus of any
size costs four bytes a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

_ROWS_PER_CALL = 1000


@dataclass(frozen=True)
class Encoded:
    """One split of one language.

    tokens: int32 [all tokens]; starts: int64 [rows + 1]; labels: int64 [rows]; ids: one string per row.
    """

    ids: tuple[str, ...]
    tokens: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row."""
        return np.diff(self.starts)

    def take(self, rows: Sequence[int]) -> Encoded:
        """The given rows, in the order given."""
        pieces = [self.tokens[self.starts[row] : self.starts[row + 1]] for row in rows]
        starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
        tokens = np.concatenate(pieces) if pieces else self.tokens[:0]
        return Encoded(tuple(self.ids[row] for row in rows), tokens, starts, self.labels[list(rows)])

    def padded(self, rows: Sequence[int], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
        """input_ids and attention_mask [rows, longest of them], padded on the right."""
        width = int(self.lengths[list(rows)].max())
        input_ids = torch.full((len(rows), width), pad, dtype=torch.long)
        attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            piece = self.tokens[self.starts[row] : self.starts[row + 1]]
            input_ids[place, : len(piece)] = torch.from_numpy(piece.astype(np.int64))
            attention_mask[place, : len(piece)] = 1
        return input_ids, attention_mask


@dataclass(frozen=True)
class Split:
    """Target rows and, for methods that read it, their English rows: row k of both is the same instance.

    source_key names the English rows' content, so that their hidden states can be shared between runs.
    """

    target: Encoded
    source: Encoded | None = None
    source_key: str = ""

    def __len__(self) -> int:
        return len(self.target)


def encode(
    table: pa.Table, tokenizer: PreTrainedTokenizerBase, text_columns: Sequence[str], max_length: int
) -> Encoded:
    """A table of id, text columns, label as tokens, cut to `max_length` of them per row."""
    pieces: list[np.ndarray] = []
    for start in range(0, table.num_rows, _ROWS_PER_CALL):
        part = table.slice(start, _ROWS_PER_CALL)
        texts: list[Any] = [part[column].to_pylist() for column in text_columns]
        rows = tokenizer(*texts, truncation=True, max_length=max_length)["input_ids"]
        pieces += [np.asarray(row, dtype=np.int32) for row in rows]
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    tokens = np.concatenate(pieces) if pieces else np.empty(0, np.int32)
    return Encoded(tuple(table["id"].to_pylist()), tokens, starts, table["label"].to_numpy())


def pair(target: Encoded, source: Encoded, source_key: str) -> Split:
    """Each target row with the English row of the same id. Raises KeyError for an id without one."""
    places = {row_id: place for place, row_id in enumerate(source.ids)}
    alone = [row_id for row_id in target.ids if row_id not in places]
    if alone:
        raise KeyError(f"{len(alone)} target rows without an English row, such as {', '.join(alone[:3])}")
    return Split(target, source.take([places[row_id] for row_id in target.ids]), source_key)
