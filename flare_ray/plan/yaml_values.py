"""Read YAML into plain values by the core schema of YAML 1.2, within bounds, and remember the line of each value.

    read_value("rank: [8, 64]")                   # {"rank": [8, 64]}
    read_document("name: a\\nrank: [8]").lines     # {"": 1, "name": 1, "rank": 2, "rank[0]": 2}

PyYAML scans and parses; this file turns its events into values:

- `true` and `false` are the only booleans: yes, no, on and off are text. `1e-4` is a number, `1:30` is text.
- `0100` is 64 for YAML 1.1 and 100 for YAML 1.2, so it is an error.
- A key that comes twice, a tag other than a core one, and a character that no file name can have are errors.
- Text, depth and number of values are bounded, and what an alias repeats is counted before it is copied.

Nothing but yaml.YAMLError is raised, and its text has a line and a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

MOST_BYTES = 128 * 1024
"""Bytes of a sweep file with the files that it extends."""
MOST_VALUES = 10_000
"""Values and keys in one text; what an alias repeats counts each time."""
DEEPEST = 20
"""Lists and mappings inside of one another."""
MOST_OF_A_KEY = 200
"""Characters of a key: the names of all values inside begin with it."""
MOST_DIGITS = 100
"""Digits of a number."""

_CORE = "tag:yaml.org,2002:"
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_Loader = yaml.SafeLoader
"""Scans and parses; its constructors are not used."""


@dataclass(frozen=True)
class YamlDocument:
    """A value, and the line (from 1) of each value inside of it by dotted path: `rank[0]`, `training.epochs`."""

    value: Any
    lines: dict[str, int]


def read_value(text: str) -> Any:
    """Return the value of a YAML text. Raises yaml.YAMLError."""
    return read_document(text).value


def read_document(text: str) -> YamlDocument:
    """Return the value of a YAML text and the lines of its parts. Raises yaml.YAMLError."""
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"{len(text):,} characters; expected at most {MOST_BYTES:,}")
    reader = _Reader(text)
    return YamlDocument(reader.document(), reader.lines)


def describe(error: yaml.YAMLError) -> str:
    """Return what is wrong with a text in one line: the problem, then line and column."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return " ".join(said.split()) + at
    return " ".join(str(error).split())


def inner_path(path: str, key: Any) -> str:
    """Return the dotted path of a key or an index in the value at a path, as in `training.epochs` and `rank[0]`."""
    if isinstance(key, str):
        return f"{path}.{key}" if path else key
    return f"{path}[{key}]"


def core_value(text: str) -> Any:
    """Return what an untagged, unquoted scalar stands for in the core schema. Raises ValueError."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MOST_DIGITS and (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
        raise ValueError(
            f"a number of {len(text):,} characters; expected at most {MOST_DIGITS}, or text in quotes"
        )
    if _LEADING_ZERO.fullmatch(text):
        raise ValueError(_leading_zero(text))
    if _INTEGER.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _INFINITE.fullmatch(text):
        return float(f"{special[1] or ''}{'inf' if special[2] else 'nan'}")
    return text


def _leading_zero(text: str) -> str:
    octal = re.fullmatch(r"[-+]?0[0-7]+", text)
    numbers = [str(int(text, 8)), str(int(text))] if octal else [str(int(text))]
    meaning = f", which YAML 1.1 reads as {numbers[0]} and YAML 1.2 as {numbers[-1]}" if octal else ""
    remedy = f"write {' or '.join(dict.fromkeys(numbers))}, or put it in quotes"
    return f"the number {text} begins with 0{meaning}; {remedy}"


class _Reader:
    """One text on its way from events to a value. A path of None: lines of what is inside are not remembered."""

    def __init__(self, text: str):
        self.lines: dict[str, int] = {}
        self._events = _checked(text)
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._values = 0

    def document(self) -> Any:
        """Return the one document's value; None for an empty text."""
        next(self._events)
        if isinstance(event := next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), "", 0)
        next(self._events)
        if not isinstance(event := next(self._events), yaml.StreamEndEvent):
            _refuse(event, "another document begins; expected one document in a file")
        return value

    def _value(self, event: Any, path: str | None, depth: int) -> Any:
        if path is not None:
            self.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        anchor, before = event.anchor, self._values
        if anchor:
            self._anchors[anchor] = None
        self._count(event, 1)
        if depth > DEEPEST:
            _refuse(event, f"nested too deeply; expected at most {DEEPEST} levels")
        value = self._of_kind(event, path, depth)
        if anchor:
            self._anchors[anchor] = (value, self._values - before)
        return value

    def _of_kind(self, event: Any, path: str | None, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event, f"{path}: " if path else "")
        if isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, "seq")
            return self._sequence(path, depth)
        _check_tag(event, "map")
        return self._mapping(path, depth)

    def _sequence(self, path: str | None, depth: int) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            inner = None if path is None else inner_path(path, len(values))
            values.append(self._value(event, inner, depth + 1))
        return values

    def _mapping(self, path: str | None, depth: int) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: list[dict[Any, Any]] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if (
                isinstance(event, yaml.ScalarEvent)
                and event.value == "<<"
                and event.implicit[0]
                and not event.tag
            ):
                merged += self._merged(next(self._events), depth)
                continue
            key = self._value(event, None, depth + 1)
            if isinstance(key, dict | list):
                _refuse(event, "a list or a mapping as a key; expected a name")
            if isinstance(key, str) and len(key) > MOST_OF_A_KEY:
                _refuse(
                    event,
                    f"the key {_short(key)} of {len(key):,} characters; expected at most {MOST_OF_A_KEY}",
                )
            if key in own:
                _refuse(event, f"the key {_short(key)} comes twice; remove one of both")
            inner = None if path is None else inner_path(path, key)
            if inner is not None:
                self.lines[inner] = event.start_mark.line + 1
            own[key] = self._value(next(self._events), inner, depth + 1)
        result: dict[Any, Any] = {}
        for mapping in reversed(merged):
            result.update(mapping)
        return result | own

    def _merged(self, event: Any, depth: int) -> list[dict[Any, Any]]:
        """Return the mappings that `<<` merges, the first of them the strongest."""
        value = self._value(event, None, depth + 1)
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            _refuse(event, "`<<` merges something else; expected a mapping or a list of mappings")
        return mappings

    def _repeated(self, event: Any) -> Any:
        """Return a copy of what an alias names."""
        if event.anchor not in self._anchors:
            _refuse(event, f"the alias *{_short(event.anchor)} has no anchor before it")
        if (anchored := self._anchors[event.anchor]) is None:
            _refuse(event, f"a recursive value: the anchor {_short(event.anchor)} holds itself")
        value, size = anchored
        self._count(event, size)
        return deepcopy(value)

    def _count(self, event: Any, size: int) -> None:
        self._values += size
        if self._values > MOST_VALUES:
            _refuse(
                event,
                f"more than {MOST_VALUES} values, with what anchors repeat; split the sweep into several files",
            )


def _checked(text: str) -> Iterator[Any]:
    """Yield the events of a text; any other error of the parser's becomes a YAMLError."""
    last = None
    try:
        for event in yaml.parse(text, Loader=_Loader):
            last = event
            yield event
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"line {line}: the character U+{ord(text[error.position]):04X}; expected text without it"
        raise yaml.YAMLError(problem) from error
    except yaml.YAMLError:
        raise
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as error:
        mark: Any = last.end_mark if last is not None else None
        raise yaml.MarkedYAMLError(None, None, f"not YAML: {_short(str(error))}", mark) from error


def _scalar(event: Any, where: str) -> Any:
    text = event.value
    if match := _NO_CHARACTER.search(text):
        _refuse(
            event, f"the character U+{ord(match[0]):04X} in {where}{_short(text)}; expected text without it"
        )
    tag = event.tag
    if tag == "!" or (tag is None and not event.implicit[0]):
        return text
    kind = (tag or "").removeprefix(_CORE)
    if tag and (kind == tag or kind not in _KINDS):
        _refuse_tag(event)
    if kind == "str":
        return text
    try:
        value = core_value(text)
    except ValueError as error:
        _refuse(event, f"{error}")
    if kind and not _FITS[kind](value):
        _refuse(event, f"{_short(text)} with the tag !!{kind}; expected {_KINDS[kind]}")
    return float(value) if kind == "float" else value


_FITS: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "bool": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}


def _check_tag(event: Any, kind: str) -> None:
    if event.tag not in (None, "!", _CORE + kind):
        _refuse_tag(event)


def _refuse_tag(event: Any) -> NoReturn:
    tag = _short(event.tag.replace(_CORE, "!!"))
    _refuse(
        event,
        f"could not determine a constructor for the tag {tag}; remove the tag, sweep files have plain values",
    )


def _refuse(event: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 80 else f"{shown[:78]}…"
