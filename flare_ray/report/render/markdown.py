"""A report as GitHub's Markdown, fit for an issue: no HTML, figures as their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from flare_ray.report.document import Entry, Figure, Report, Row, Table


def render(report: Report) -> str:
    """The whole report."""
    lines = [f"# {escaped(report.title)}", ""]
    lines += [f"- {escaped(fact)}" for fact in report.facts]
    for section in report.sections:
        lines += ["", f"## {escaped(section.title)}", ""]
        lines += [part for text in section.text for part in (escaped(text), "")]
        for part in section.parts:
            lines += [*_table(part.table if isinstance(part, Figure) else part), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is; a table's bars and line ends too."""
    return re.sub(r"([\\`*\[\]<>|~#]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def _table(table: Table) -> Iterator[str]:
    yield f"### {escaped(table.title)}"
    yield ""
    yield _line([escaped(table.head), *map(escaped, table.columns)])
    yield "|---|" + "---:|" * len(table.columns)
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            yield _line([f"**{escaped(group)}**", *("" for _ in table.columns)])
        yield from _row(row)
    yield ""
    for note in table.notes:
        yield escaped(note)
        yield ""


def _row(row: Row) -> Iterator[str]:
    yield _line([escaped(row.label), *map(_cell, row.entries)])
    if row.below:
        yield _line([f"*{escaped(row.below_label)}*", *map(_cell, row.below)])


def _cell(entry: Entry) -> str:
    text = escaped(entry.text)
    return f"**{text}**" if entry.bold and text else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
