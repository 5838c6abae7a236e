"""Names of the fusion functions, without importing any of them (or torch): one file of `functions/` each."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flare_ray.fusion.functions.base import Fusion


@cache
def fusion_names() -> tuple[str, ...]:
    """All fusion functions, sorted: the files of `functions/` but `base` and those starting with "_"."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "functions")]))
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


def unknown_fusion(name: str) -> str | None:
    """What is wrong with `name` as a fusion function, with the nearest name and the list; None when known."""
    names = fusion_names()
    if name in names:
        return None
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown fusion function {name!r}: {hint}known are {', '.join(names)}"


def load_fusion(name: str) -> type[Fusion]:
    """The class of a fusion function. Raises ValueError for an unknown name."""
    if problem := unknown_fusion(name):
        raise ValueError(problem)
    return importlib.import_module(f"flare_ray.fusion.functions.{name}").FUSION
