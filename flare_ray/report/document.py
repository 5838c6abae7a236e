"""A report as it is before it is HTML, LaTeX, Markdown or CSV: sections of tables and figures with their numbers.

What a cell shows is made once, here: every format prints the same `text`, and the CSV has the number behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flare_ray.report.table import Value

State = Literal["", "partial", "missing", "failed", "damaged"]


@dataclass(frozen=True)
class Entry:
    """One cell. number: unrounded, what it is sorted by. facts: what the CSV has beside it (std, n, planned, …)."""

    text: str = ""
    number: float | None = None
    bold: bool = False
    state: State = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line of a table. group: the heading it stands under. below: a second line of entries, with its own name."""

    label: str
    entries: tuple[Entry, ...]
    group: str = ""
    below_label: str = ""
    below: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Table:
    """head: what the first column holds. notes: said under it."""

    id: str
    title: str
    head: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A plot as SVG, and the table of its numbers. folded: whether a page shows the table on demand only."""

    id: str
    svg: str
    table: Table
    folded: bool = True


@dataclass(frozen=True)
class Section:
    """text: paragraphs before the tables and figures."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    parts: tuple[Table | Figure, ...] = ()


@dataclass(frozen=True)
class Report:
    """A whole report. facts: what and when, in a line each."""

    title: str
    facts: tuple[str, ...]
    sections: tuple[Section, ...]

    def tables(self) -> list[Table]:
        """Every table in order, those of figures too."""
        parts = [part for section in self.sections for part in section.parts]
        return [part.table if isinstance(part, Figure) else part for part in parts]


def score_entry(value: Value | None, bold: bool = False) -> Entry:
    """A cell's mean ± std over seeds with what is missing of it; empty where no run was asked for."""
    if value is None:
        return Entry()
    facts = {"std": value.std, "n": value.n, "planned": value.planned}
    facts |= {"failed": value.failed, "damaged": value.damaged}
    return Entry(str(value), value.mean, bold, state_of(value), facts)


def state_of(value: Value) -> State:
    """Whether a cell is whole, and what it lacks if not."""
    if value.mean is not None:
        return "" if value.n == value.planned else "partial"
    return "failed" if value.failed else "damaged" if value.damaged else "missing"


def number_entry(number: float | None, form: str = ",.1f", unit: str = "") -> Entry:
    """A plain number; – where there is none. Minus signs are −."""
    return Entry("–" if number is None else minus(format(number, form)) + unit, number)


def minus(text: str) -> str:
    """A number's text with a minus sign in place of a hyphen."""
    return text.replace("-", "−", 1) if text.startswith("-") else text


def bold_best(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The highest number of each column in bold, group by group; ties as printed (one decimal), unless all are."""
    made = []
    for row in rows:
        peers = [one for one in rows if one.group == row.group]
        entries = []
        for place, entry in enumerate(row.entries):
            numbers = [one.entries[place].number for one in peers]
            shown = {round(number, 1) for number in numbers if number is not None}
            is_best = len(shown) > 1 and entry.number is not None and round(entry.number, 1) == max(shown)
            entries.append(replace(entry, bold=is_best))
        made.append(replace(row, entries=tuple(entries)))
    return tuple(made)
