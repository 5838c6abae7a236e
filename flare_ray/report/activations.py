"""What a sweep's FLARE runs measured in their bottlenecks, cell by cell: the numbers of Figures 4, 5 and 6.

A finished run has its means of |S| and |T| in a file (training/activations.py); a run of an older version has none,
and its cell knows no number for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from flare_ray.report.paper import plain, usual
from flare_ray.report.results import Results, RunResult
from flare_ray.store import Damaged

METHODS = ("flare", "flare_mt")
TASK, LANGUAGE = "nusax", "ace"
"""Of the paper's figures."""
STREAMS = ("source", "target")
POSITIONS = 48
"""Tokens that the figures show; the file has more."""
Rows = Sequence[Mapping[str, Any]]
"""Of one run's file."""


@dataclass(frozen=True)
class Cell:
    """A row and language of a model and task, and what its runs measured, by seed. unread: files that are damaged."""

    model: str
    task: str
    row: str
    language: str
    runs: tuple[RunResult, ...]
    measured: Mapping[int, Rows]
    unread: int = 0

    @property
    def label(self) -> str:
        """`flare (add_relu, r=64), ace`."""
        return f"{self.row}, {self.language}"


def cells_of(results: Results) -> list[Cell]:
    """All cells whose method fuses, in the order of the plan."""
    grouped: dict[tuple[str, str, str, str], list[RunResult]] = defaultdict(list)
    for run in results.runs:
        if run.facts["method"] in METHODS:
            facts = run.facts
            grouped[facts["model"], facts["task"], run.row, facts["language"]].append(run)
    return [_cell(results, key, runs) for key, runs in grouped.items()]


def _cell(results: Results, key: tuple[str, str, str, str], runs: list[RunResult]) -> Cell:
    measured, unread = {}, 0
    for run in runs:
        if run.record is None or results.activations is None:
            continue
        try:
            found = results.activations(run.facts["fingerprint"])
        except (Damaged, OSError, ValueError, KeyError):
            unread += 1
            continue
        if found:
            measured[int(run.facts["seed"])] = found
    return Cell(*key, tuple(runs), dict(sorted(measured.items())), unread)


def shown(results: Results, cells: Sequence[Cell], model: str) -> Cell | None:
    """The cell that a model's figures show: the paper's, as far as it was measured."""
    mine = [cell for cell in cells if cell.model == model and cell.measured]

    def distance(cell: Cell) -> tuple[bool, ...]:
        row = results.rows(model, cell.task)[cell.row]
        theirs = row.method == METHODS[0] and not row.selected and plain(row)
        return not theirs, cell.task != TASK, not usual(row), cell.language != LANGUAGE

    return min(mine, key=distance, default=None)


def by_layer(rows: Rows) -> dict[tuple[str, int], dict[str, float]]:
    """Mean |S| and |T| of each stack and layer, over the layer's fused modules."""
    found: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["position"] is None and row["stream"] in STREAMS:
            found[row["stack"], row["layer"]][row["stream"]].append(row["mean"])
    return {place: {stream: fmean(sizes) for stream, sizes in one.items()} for place, one in found.items()}


def over_layers(layers: Mapping[tuple[str, int], Mapping[str, float]]) -> dict[str, float]:
    """Mean |S| and |T| of all layers."""
    found = {stream: [one[stream] for one in layers.values() if stream in one] for stream in STREAMS}
    return {stream: fmean(sizes) for stream, sizes in found.items() if sizes}


def first_module(rows: Rows) -> Rows:
    """The rows by position of the encoder's, or only, first fused module."""
    fine = [row for row in rows if row["position"] is not None]
    stacks = sorted({(row["stack"], 0) for row in fine}, key=encoder_first)
    return [row for row in fine if row["stack"] == stacks[0][0]]


def by_position(rows: Rows, name: str | None) -> dict[int, dict[str, float]]:
    """Mean |S| and |T| by position, over rows (None) or of one."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["row"] == name and row["stream"] in STREAMS:
            found[row["position"]][row["stream"]] = row["mean"]
    return found


def reached(rows: Rows) -> list[int]:
    """Positions that at least half of the target's rows have."""
    tokens = {
        row["position"]: row["tokens"] for row in rows if row["row"] is None and row["stream"] == "target"
    }
    return [at for at, count in sorted(tokens.items()) if 2 * count >= tokens[0] and at < POSITIONS]


def encoder_first(place: tuple[str, int]) -> tuple[bool, str, int]:
    """Sorts stacks and layers: an encoder comes before its decoder."""
    return "decoder" in place[0], *place


def ratios(by_seed: Iterable[Mapping[str, float]]) -> list[float]:
    """Source over target of each seed that has both."""
    return [one["source"] / one["target"] for one in by_seed if len(one) == len(STREAMS) and one["target"]]
