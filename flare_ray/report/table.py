"""The results table: per model and task a row per method, a column per language, mean ± sample std over seeds.

A cell that is not complete says so: its value carries its own n, or `failed`, `damaged`, or `–`. Nothing is averaged
away: the average over languages is taken seed by seed, over the seeds that have every language.
"""

from __future__ import annotations

import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from flare_ray.report.csv_cells import CsvWriter

AVERAGE = "avg"


@dataclass(frozen=True)
class Value:
    """Scores of one cell over its seeds, in points.

    planned: seeds asked for; failed: those that failed; damaged: those whose record cannot be read.
    """

    scores: tuple[float, ...]
    planned: int
    failed: int = 0
    damaged: int = 0

    @property
    def n(self) -> int:
        """Seeds that have a score."""
        return len(self.scores)

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None without any."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None below two seeds."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    def __str__(self) -> str:
        if self.mean is None:
            return "failed" if self.failed else "damaged" if self.damaged else "–"
        text = f"{self.mean:.1f}"
        if self.std is not None:
            text += f" ± {self.std:.1f}"
        return text if self.n == self.planned else f"{text} (n={self.n})"


@dataclass(frozen=True)
class Block:
    """One model on one task. rows: variant -> language (and "avg") -> value."""

    model: str
    task: str
    metric: str
    seeds: int
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Value]]

    @property
    def title(self) -> str:
        """Names the model, the task, its metric and n."""
        return f"{self.model} · {self.task} · {self.metric} (mean ± std over n={self.seeds} seeds)"

    def best(self, column: str) -> float | None:
        """The highest mean of a column, as it is printed."""
        means = [row[column].mean for row in self.rows.values()]
        return max((round(mean, 1) for mean in means if mean is not None), default=None)


def blocks(
    planned: Iterable[Mapping[str, Any]],
    records: Mapping[str, Mapping[str, Any]],
    failures: Iterable[str],
    metrics: Mapping[str, str],
    damaged: Iterable[str] = (),
) -> list[Block]:
    """Blocks for the planned runs.

    planned: one mapping per run with fingerprint, model, task, language, variant, seed. records: by fingerprint;
    failures: fingerprints of failed runs; metrics: task -> name of the metric to show; damaged: fingerprints of runs
    whose record cannot be read.
    """
    lost = Lost(frozenset(failures), frozenset(damaged))
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for run in planned:
        grouped[run["model"], run["task"]].append(run)
    return [
        _block(model, task, metrics[task], runs, records, lost) for (model, task), runs in grouped.items()
    ]


@dataclass(frozen=True)
class Lost:
    """Fingerprints of runs that failed, and of those whose record cannot be read."""

    failed: frozenset[str]
    damaged: frozenset[str]


def _block(
    model: str,
    task: str,
    metric: str,
    runs: Sequence[Mapping[str, Any]],
    records: Mapping[str, Mapping[str, Any]],
    lost: Lost,
) -> Block:
    languages = list(dict.fromkeys(run["language"] for run in runs))
    seeds = len({run["seed"] for run in runs})
    rows: dict[str, dict[str, Value]] = {}
    for variant in dict.fromkeys(run["variant"] for run in runs):
        mine = [run for run in runs if run["variant"] == variant]
        scores: dict[str, dict[int, float]] = {language: {} for language in languages}
        for run in mine:
            if run["fingerprint"] in records:
                scores[run["language"]][run["seed"]] = records[run["fingerprint"]]["metrics"][metric]
        failed = [run for run in mine if run["fingerprint"] in lost.failed]
        damaged = [run for run in mine if run["fingerprint"] in lost.damaged]
        without, unread = (Counter(run["language"] for run in some) for some in (failed, damaged))
        row = {
            code: Value(tuple(scores[code].values()), seeds, without[code], unread[code])
            for code in languages
        }
        whole = set.intersection(*(set(scores[code]) for code in languages))
        means = tuple(statistics.fmean(scores[code][seed] for code in languages) for seed in sorted(whole))
        row[AVERAGE] = Value(
            means, seeds, len({run["seed"] for run in failed}), len({run["seed"] for run in damaged})
        )
        rows[variant] = row
    return Block(model, task, metric, seeds, (*languages, AVERAGE), rows)


def as_rich(block: Block) -> Table:
    """For the terminal; the best of a column in bold."""
    table = Table(title=escape(block.title), title_justify="left")
    table.add_column("method", no_wrap=True)
    for column in block.columns:
        table.add_column(escape(column), justify="right", no_wrap=True)
    for variant, row in block.rows.items():
        table.add_row(escape(variant), *_cells(block, row, "[bold]{}[/bold]"))
    return table


def as_markdown(block: Block) -> str:
    """For docs and READMEs; the best of a column in bold."""
    lines = [
        f"### {block.title}",
        "",
        "| method | " + " | ".join(block.columns) + " |",
        "|---|" + "---:|" * len(block.columns),
    ]
    for variant, row in block.rows.items():
        lines.append(f"| {variant} | " + " | ".join(_cells(block, row, "**{}**")) + " |")
    return "\n".join(lines) + "\n"


def as_csv(all_blocks: Sequence[Block]) -> str:
    """One line per model, task, method and language: mean, std, n, planned, failed."""
    text = io.StringIO()
    out = CsvWriter(text)
    out.writerow(
        ["model", "task", "method", "language", "metric", "mean", "std", "n", "planned", "failed", "damaged"]
    )
    for block in all_blocks:
        for variant, row in block.rows.items():
            for column in block.columns:
                value = row[column]
                facts = [value.mean, value.std, value.n, value.planned, value.failed, value.damaged]
                out.writerow([block.model, block.task, variant, column, block.metric, *facts])
    return text.getvalue()


def _cells(block: Block, row: Mapping[str, Value], bold: str) -> list[str]:
    cells = []
    for column in block.columns:
        value = row[column]
        is_best = value.mean is not None and round(value.mean, 1) == block.best(column)
        cells.append(bold.format(value) if is_best and len(block.rows) > 1 else str(value))
    return cells
