"""Names that a sweep does not have, as problems: the nearest ones are looked for a bounded number of times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flare_ray import registry
from flare_ray.errors import Problem

_MOST = 40
"""Names of one list that become problems each; of the others there is the number."""


def unknown_names(names: Sequence[tuple[str, Any]], known: Iterable[str]) -> list[Problem]:
    """Return a problem for each unknown name, given with its place, and one for those after the first forty."""
    known = list(known)
    problems = [
        Problem(where, "nothing" if name is None else repr(name), registry.wanted(str(name), known))
        for where, name in names[:_MOST]
    ]
    if len(names) > _MOST:
        where, _ = names[_MOST]
        problems.append(
            Problem(where, f"{len(names) - _MOST:,} more unknown names", registry.wanted("", known))
        )
    return problems


class Values:
    """The values that an axis has, for rules: true is not 1."""

    def __init__(self, values: Iterable[Any]):
        self.names = list(map(str, dict.fromkeys(values)))
        self._keys = {(isinstance(value, bool), value) for value in values}

    def __contains__(self, value: Any) -> bool:
        try:
            return (isinstance(value, bool), value) in self._keys
        except TypeError:  # a list or a mapping
            return False
