"""A split as a model reads it: flat arrays of tokens, several sequences to a row where a context is cut in windows.

Arrays grow in files without a name and are read back by memory map, so a corpus of any size costs disk, not memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flare_ray.forms._reading import USUAL, ReadingOptions

if TYPE_CHECKING:
    import pyarrow as pa

_IN_MEMORY = 1 << 24  # bytes of an array that is not worth a memory map


@dataclass(frozen=True)
class Features:
    """One split of one language in one form.

    table: the rows they were made of. tokens: int32 [all tokens], the sequences end to end; starts: int64
    [sequences + 1]; row_of: int64 [sequences], the row of each sequence. by_sequence: arrays [sequences, …];
    by_token: arrays [all tokens, …]. counts: what did not fit, such as `truncated`, in rows. lost: by reason, bool
    [rows], the rows that no prediction can answer exactly. reading: how they were read.
    """

    table: pa.Table
    tokens: np.ndarray
    starts: np.ndarray
    row_of: np.ndarray
    by_sequence: Mapping[str, np.ndarray] = field(default_factory=dict)
    by_token: Mapping[str, np.ndarray] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, np.ndarray] = field(default_factory=dict)
    reading: ReadingOptions = USUAL

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def rows(self) -> int:
        """Number of rows (instances)."""
        return self.table.num_rows

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per sequence."""
        return np.diff(self.starts)

    @property
    def lost_counts(self) -> dict[str, int]:
        """Rows that no prediction can answer exactly, by reason."""
        return {reason: int(marks.sum()) for reason, marks in self.lost.items() if marks.any()}

    @property
    def ceiling(self) -> float:
        """Highest exact match, in points, that any predictions can reach."""
        if not self.lost or not self.rows:
            return 100.0
        return 100 * (1 - float(np.mean(np.any(list(self.lost.values()), axis=0))))

    def sequence(self, index: int) -> np.ndarray:
        """Tokens of one sequence."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    def of_token(self, name: str, index: int) -> np.ndarray:
        """A `by_token` array's part of one sequence."""
        return self.by_token[name][self.starts[index] : self.starts[index + 1]]

    def strings(self, column: str, sequences: Sequence[int]) -> list[Any]:
        """A column of the table for the rows of these sequences."""
        return self.table[column].take(self.row_of[list(sequences)]).to_pylist()

    def take_rows(self, rows: np.ndarray) -> Features:
        """The given rows with their sequences, in the order given."""
        order = np.argsort(self.row_of, kind="stable")
        first = np.searchsorted(self.row_of[order], np.arange(self.rows + 1))
        chosen = [order[first[row] : first[row + 1]] for row in rows]
        sequences = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
        builder = Builder()
        for index in sequences.tolist():
            builder.add(
                self.sequence(index),
                {name: values[index] for name, values in self.by_sequence.items()},
                {name: self.of_token(name, index) for name in self.by_token},
            )
        builder.row_of = [place for place, part in enumerate(chosen) for _ in part]
        lost = {reason: marks[rows] for reason, marks in self.lost.items()}
        return builder.finish(self.table.take(rows), self.counts, lost, self.reading)


class Builder:
    """Features in the making."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.row_of: list[int] = []
        self._by_sequence: dict[str, list[Any]] = {}
        self._files: dict[str, _Column] = {"": _Column()}

    def add(
        self,
        tokens: Sequence[int] | np.ndarray,
        by_sequence: Mapping[str, Any] | None = None,
        by_token: Mapping[str, Any] | None = None,
        row: int = 0,
    ) -> None:
        """One more sequence, of a row."""
        self.lengths.append(len(tokens))
        self.row_of.append(row)
        self._files[""].append(np.asarray(tokens, np.int32))
        for name, value in (by_sequence or {}).items():
            self._by_sequence.setdefault(name, []).append(value)
        for name, values in (by_token or {}).items():
            self._files.setdefault(name, _Column()).append(np.asarray(values, np.int32))

    def finish(
        self,
        table: pa.Table,
        counts: Mapping[str, int] | None = None,
        lost: Mapping[str, np.ndarray] | None = None,
        reading: ReadingOptions = USUAL,
    ) -> Features:
        """The features; the builder is used up. lost: reasons without a row are left out."""
        some = {reason: marks for reason, marks in (lost or {}).items() if marks.any()}
        starts = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        arrays = {name: column.finish() for name, column in self._files.items()}
        return Features(
            table,
            arrays.pop(""),
            starts,
            np.asarray(self.row_of, np.int64),
            {name: np.asarray(values) for name, values in self._by_sequence.items()},
            arrays,
            {name: int(count) for name, count in (counts or {}).items()},
            some,
            reading,
        )


class _Column:
    """An int32 array that grows in a file and ends as a memory map."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - lives as long as the map
        self._tail: tuple[int, ...] = ()

    def append(self, part: np.ndarray) -> None:
        self._tail = part.shape[1:]
        self._file.write(part.tobytes())

    def finish(self) -> np.ndarray:
        size = self._file.tell()
        self._file.seek(0)
        if size <= _IN_MEMORY:
            flat = np.frombuffer(self._file.read(), np.int32)
            self._file.close()
        else:
            flat = np.memmap(self._file, np.int32, "r")
        return flat.reshape(-1, *self._tail)


def pad(pieces: Sequence[np.ndarray], value: int, side: str = "right") -> torch.Tensor:
    """Pieces of different lengths as long [pieces, longest (at least 1)], padded on one side."""
    width = max(1, *(len(piece) for piece in pieces))
    padded = np.full((len(pieces), width), value, np.int64)
    for place, piece in enumerate(pieces):
        if len(piece):
            span = slice(0, len(piece)) if side == "right" else slice(width - len(piece), width)
            padded[place, span] = piece
    return torch.from_numpy(padded)


def tokens_and_mask(pieces: Sequence[np.ndarray], value: int, side: str = "right") -> dict[str, torch.Tensor]:
    """input_ids and attention_mask, long [pieces, longest]."""
    real = [np.ones(len(piece), np.int64) for piece in pieces]
    return {"input_ids": pad(pieces, value, side), "attention_mask": pad(real, 0, side)}
