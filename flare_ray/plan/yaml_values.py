"""YAML as sweep files have it: what would silently be lost, or cannot be, is an error with line and column.

PyYAML's safe loader with three differences: a key that comes twice is an error instead of the loss of the first;
1e-4 is a number (YAML 1.1 wants a dot and a sign in it); and nothing but yaml.YAMLError comes out of it. A text that
its anchors would make many times as large is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

_LARGEST = 50_000
"""Values in one text, those behind anchors counted wherever they are named."""


def read_value(text: str) -> Any:
    """A value in YAML. Raises yaml.YAMLError."""
    try:
        value = yaml.load(text, _Loader)
        if _size(value, {}) > _LARGEST:
            raise yaml.YAMLError(f"more than {_LARGEST} values, with what anchors repeat")
    except RecursionError:
        raise yaml.YAMLError("nested too deeply, or an anchor in itself") from None
    return value


def _size(value: Any, known: dict[int, int]) -> int:
    """Values in a value. known: sizes of what was counted before, which anchors repeat."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(one, known) for one in inner)
    return known[id(value)]


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str):
        super().__init__(text)
        self._looked_at: set[yaml.Node] = set()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Deep always, so that an anchor within itself is found. What Python has no value for is an error too."""
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            shown = repr(node.value)
            shown = shown if len(shown) < 80 else f"{shown[:80]}…"
            raise ConstructorError(None, None, f"{shown}: {error}", node.start_mark) from error

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Puts what `<<` merges into a mapping; before that, its own keys must be there once."""
        if node not in self._looked_at:
            self._looked_at.add(node)
            self._refuse_repeated_keys(node)
        super().flatten_mapping(node)
        if len(node.value) > _LARGEST:
            raise ConstructorError(None, None, "merged from too much", node.start_mark)

    def _refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
        places = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key) for key in places]
        counts = Counter(key for key in keys if isinstance(key, Hashable))
        for key, place in zip(keys, places, strict=True):
            if isinstance(key, Hashable) and counts[key] > 1:
                said = f"the key {key!r} comes twice"
                raise ConstructorError("in a mapping", node.start_mark, said, place.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
