"""Tables on the terminal, and sizes and times as people read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.table import Table
from rich.text import Text

from flare_ray.commands.output import make_console


def print_rows(rows: list[dict[str, Any]], shown: dict[str, Callable[[Any], str]], caption: str) -> None:
    """Print a table of rows of the same fields, and one line under it. shown: how a field's values are written."""
    console = make_console()
    if rows:
        table = Table(box=None, pad_edge=False)
        for name, value in rows[0].items():
            right = isinstance(value, (int, float)) or name in shown
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for row in rows:
            cells = [shown.get(name, str)(value) if value is not None else "" for name, value in row.items()]
            table.add_row(*map(Text, cells))
        console.print(table)
    console.print(caption, markup=False, soft_wrap=True)


def size_text(count: int) -> str:
    """Return a number of bytes in a unit that fits: 1.4 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def age_text(seconds: float) -> str:
    """Return a time in seconds in a unit that fits: 3 h."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
