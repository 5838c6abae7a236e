"""A report as a LaTeX document that compiles by itself (pdfLaTeX, booktabs); its tables can be copied one by one.

A table wider than the page is made to fit, one longer than it continues in a second one. Figures are their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

import jinja2

from flare_ray.report.document import Entry, Figure, Report, Row, Table

LINES, WIDE_LINES = 44, 30
"""Lines of a table that a page holds, and a page on its side."""
WIDE = 9
"""Columns up to which a table stands upright."""
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "α": r"$\alpha$",
    "ε": r"$\varepsilon$",
    "Δ": r"$\Delta$",
    "†": r"\dag{}",
    "…": r"\dots{}",
    "→": r"$\rightarrow$",
}


def render(report: Report) -> str:
    """The whole document."""
    return str(_environment().get_template("report.tex.j2").render(report=report))


def escaped(text: str) -> str:
    """Text that pdfLaTeX prints as it is; a character that its fonts lack as U+…."""
    return "".join(_character(one) for one in " ".join(text.split()))


def _character(one: str) -> str:
    if one in _SPECIAL:
        return _SPECIAL[one]
    if one.isascii() or "\u00a1" <= one <= "\u00ff":
        return one
    return f"U+{ord(one):04X}"


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("flare_ray.report.render", "."),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        finalize=_finished,
        undefined=jinja2.StrictUndefined,
    )
    made.globals["tables_of"] = lambda section: [
        piece for part in section.parts for piece in pieces(part.table if isinstance(part, Figure) else part)
    ]
    made.globals |= {"lines_of": lines, "head_of": head, "is_wide": is_wide, "code": Code, "label_of": label}
    return made


class Code:
    """LaTeX that is not escaped again."""

    def __init__(self, text: str):
        self.text = text

    def __str__(self) -> str:
        return self.text


def _finished(value: object) -> object:
    return escaped(value) if isinstance(value, str) else value


def label(table: Table) -> Code:
    """The name that LaTeX knows a table by: a model's name in it must not end it."""
    return Code(re.sub(r"[^A-Za-z0-9.-]+", "-", table.id))


def is_wide(table: Table) -> bool:
    """Whether a table lies on its side."""
    return len(table.columns) > WIDE


def pieces(table: Table) -> list[Table]:
    """The table in pieces that each fit a page."""
    most = WIDE_LINES if is_wide(table) else LINES
    made: list[list[Row]] = [[]]
    for row in table.rows:
        if sum(1 + bool(one.below) for one in made[-1]) >= most:
            made.append([])
        made[-1].append(row)
    return [
        Table(
            table.id if place == 0 else f"{table.id}-{place + 1}",
            table.title if place == 0 else f"{table.title} (continued)",
            table.head,
            table.columns,
            tuple(rows),
            table.notes if place == len(made) - 1 else (),
        )
        for place, rows in enumerate(made)
    ]


def head(table: Table) -> str:
    """The first row of a tabular: the columns' names."""
    return " & ".join(map(escaped, [table.head, *table.columns])) + r" \\"


def lines(table: Table) -> Iterator[str]:
    """The rows of a tabular's body, each with its `\\\\`."""
    group = ""
    for row in table.rows:
        if row.group != group:
            if group:
                yield r"\midrule"
            group = row.group
            yield rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\textbf{{{escaped(group)}}}}} \\"
        yield _line(escaped(row.label), row.entries)
        if row.below:
            yield _line(rf"\quad\textit{{{escaped(row.below_label)}}}", row.below)


def _line(label: str, entries: Sequence[Entry]) -> str:
    return " & ".join([label, *map(_cell, entries)]) + r" \\"


def _cell(entry: Entry) -> str:
    text = escaped(entry.text)
    return rf"\textbf{{{text}}}" if entry.bold and text else text
