"""What commands print: consoles of one kind, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
from typing import Any

from rich.console import Console

_LOG_WIDTH = 200


def make_console() -> Console:
    """Return a console on standard output; a log or a pipe has no width of its own, and tables stay whole there."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def json_text(value: Any) -> str:
    """Return a value as JSON, with null for numbers that JSON has not: NaN and infinities of damaged records."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
