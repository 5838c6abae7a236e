"""A report's tables for the terminal, by rich."""

from __future__ import annotations

from rich import table
from rich.markup import escape

from flare_ray.report.document import Entry, Table

_STYLES = {"failed": "red", "damaged": "red", "missing": "dim", "partial": "italic", "": ""}


def as_rich(made: Table) -> table.Table:
    """One table; the best of a column in bold, groups as headings."""
    found = table.Table(title=escape(made.title), title_justify="left")
    found.add_column(escape(made.head), no_wrap=True)
    for column in made.columns:
        found.add_column(escape(column), justify="right", no_wrap=True)
    group = ""
    for row in made.rows:
        if row.group != group:
            group = row.group
            found.add_section()
            found.add_row(f"[bold]{escape(group)}[/bold]")
        found.add_row(escape(row.label), *map(_cell, row.entries))
        if row.below:
            found.add_row(f"  {escape(row.below_label)}", *map(_cell, row.below), style="dim")
    return found


def _cell(entry: Entry) -> str:
    style = "bold" if entry.bold else _STYLES[entry.state]
    text = escape(entry.text)
    return f"[{style}]{text}[/{style}]" if style and text else text
