"""The options of every command that takes a sweep file: `--limit N` and `--smoke`."""

from __future__ import annotations

from typing import Annotated

import typer

Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", help="Rows per split; the same as --set limit=N.")
]
Smoke = Annotated[
    bool,
    typer.Option(
        "--smoke", help="Every cell for two steps on eight rows per split; the same as --set smoke=true."
    ),
]
