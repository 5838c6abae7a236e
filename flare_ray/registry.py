"""The folder is the registry: a new task, method, model family or fusion function is one new file.

`load("tasks", "nusax")` imports `flare_ray.tasks.nusax` and returns its `TASK`. Files that start with an
underscore, and `base.py`, are not entries. Names may be listed without importing anything:

    >>> names("methods")
    ['flare', 'lora', 'zero_shot']
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

EXPORTS = {
    "forms": "FORM",
    "tasks": "TASK",
    "methods": "METHOD",
    "models": "FAMILY",
    "fusion.functions": "FUSION",
}


class UnknownName(LookupError):
    """No entry of that name; the message gives the nearest one and the list."""


@cache
def names(kind: str) -> list[str]:
    """Names of all entries of a kind (a key of EXPORTS), sorted; imports none of them."""
    folder = Path(__file__).parent.joinpath(*kind.split("."))
    found = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


def load(kind: str, name: str) -> Any:
    """The entry `name` of a kind. Raises UnknownName."""
    if name not in names(kind):
        raise UnknownName(f"unknown {kind} {name!r}; wanted {wanted(name, names(kind))}")
    return getattr(importlib.import_module(f"flare_ray.{kind}.{name}"), EXPORTS[kind])


def wanted(name: str, options: Iterable[str]) -> str:
    """The list of options, led by the nearest one: "'lora' (nearest), of: flare, lora, zero_shot"."""
    options = list(options)
    near = difflib.get_close_matches(
        str(name).lower(), [option.lower() for option in options], n=1, cutoff=0.5
    )
    listed = "one of: " + ", ".join(options) if options else "nothing is available"
    if not near:
        return listed
    match = next(option for option in options if option.lower() == near[0])
    return f"{match!r} (the nearest), {listed}"
