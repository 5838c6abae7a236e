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
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

EXPORTS = {
    "forms": "FORM",
    "tasks": "TASK",
    "methods": "METHOD",
    "models": "FAMILY",
    "fusion.functions": "FUSION",
}


_LONGEST = 100
"""Characters of a name that others are compared with."""
_COMPARED = 200
"""Options that a name is compared with, and that may be listed."""
_LISTED = 300
"""Characters of a list of options."""


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
    """The list of options, led by the nearest one: "'lora' (nearest), of: flare, lora, zero_shot".

    Bounded: a long name has no nearest one, and of many options the first ones are listed.
    """
    options = list(map(str, options))
    listed = f"one of: {_listed(options)}" if options else "nothing is available"
    near = _nearest(str(name).lower(), tuple(options[:_COMPARED]))
    return f"{near!r} (the nearest), {listed}" if near else listed


def _listed(options: list[str]) -> str:
    names: list[str] = []
    length = 0
    for option in options[:_COMPARED]:
        length += len(option) + 2
        if length > _LISTED and names:
            break
        names.append(option if len(option) <= _LONGEST else f"{option[:_LONGEST]}…")
    more = len(options) - len(names)
    return ", ".join(names) + (f" … and {more:,} more" if more else "")


@lru_cache(maxsize=1024)
def _nearest(name: str, options: tuple[str, ...]) -> str | None:
    """The option that is most like a name in lower case; None when none is."""
    if not name or len(name) > _LONGEST:
        return None
    lowered = {option.lower(): option for option in reversed(options) if len(option) <= _LONGEST}
    near = difflib.get_close_matches(name, lowered, n=1, cutoff=0.5)
    return lowered[near[0]] if near else None
