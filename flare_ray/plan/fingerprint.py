"""A fingerprint names a piece of work by what determines its result, and by nothing else.

Where and on what it runs (paths, GPUs, packs, retries) must never get in: whoever builds an identity leaves it
out. A value that has no canonical form raises, naming its place and the remedy, instead of hashing an address.

    >>> fingerprint({"rank": 8, "seed": 1}) == fingerprint({"seed": 1, "rank": 8})
    True
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
LENGTH = 20  # hex digits: 80 bits, a collision among a million runs has a chance below 1e-12


class NotCanonical(TypeError):
    """A value in an identity has no canonical form."""


def canonical(value: Any, where: str = "identity") -> Any:
    """The value as JSON types with sorted string keys. Raises NotCanonical with the dotted place."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotCanonical(f"{where}: {value} has no canonical form; wanted a finite number")
        return int(value) if value.is_integer() else value  # 2 and 2.0 in a YAML mean the same
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise NotCanonical(f"{where}: keys must be strings, found {sorted(map(repr, value))}")
        return {key: canonical(value[key], f"{where}.{key}") for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise NotCanonical(
        f"{where}: a {type(value).__name__} has no canonical form; give plain values (str, int, float, list, dict), "
        "for example a name and a VERSION instead of an object"
    )


class Part(dict[str, Any]):
    """A part of many identities: its canonical text is made once. Not to be changed after that."""

    @cached_property
    def text(self) -> str:
        """Canonical JSON."""
        return _text(dict(self), "identity")


def _text(value: Any, where: str) -> str:
    """The same as encoding the canonical value, faster for what every run's identity has: a plan has many runs."""
    if type(value) is str:
        return _ENCODE(value)
    if type(value) is int:
        return str(value)
    if type(value) is list:
        return f"[{','.join([_text(item, f'{where}[{index}]') for index, item in enumerate(value)])}]"
    return _ENCODE(canonical(value, where))


def fingerprint(identity: Mapping[str, Any]) -> str:
    """20 hex digits of the BLAKE2b hash of the canonical identity."""
    if not all(isinstance(key, str) for key in identity):
        canonical(identity)
    fields = (
        f"{_ENCODE(key)}:{value.text if isinstance(value, Part) else _text(value, f'identity.{key}')}"
        for key, value in sorted(identity.items())
    )
    text = f"{{{','.join(fields)}}}"
    return hashlib.blake2b(text.encode(), digest_size=LENGTH // 2).hexdigest()


class Identified:
    """Work known by a fingerprint of its identity."""

    identity: dict[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """20 hex digits."""
        return fingerprint(self.identity)
