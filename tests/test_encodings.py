"""Every text file is UTF-8 by name, whatever the locale is: no call of the package leaves the encoding to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import flare_ray

PACKAGE = Path(flare_ray.__file__).parent
_MODE = set("rwxabt+")


def _text_mode(mode: ast.expr | None) -> bool:
    """Whether a mode, of a call that opens a file, is one of text; one that is not a constant counts as binary."""
    if mode is None:
        return True
    return isinstance(mode, ast.Constant) and set(str(mode.value)) <= _MODE and "b" not in str(mode.value)


def _leaves_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text, and does not say in which encoding."""
    given = {word.arg: word.value for word in call.keywords}
    if "encoding" in given:
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    is_method = isinstance(call.func, ast.Attribute)
    match name:
        case "read_text":  # of a path; a function of that name takes arguments
            return is_method and not call.args
        case "write_text":  # the store's own takes a place too
            return is_method and len(call.args) == 1
        case "open" if is_method and isinstance(call.func.value, ast.Name) and call.func.value.id == "os":
            return False
        case "open" | "fdopen":
            place = 0 if is_method and name == "open" else 1  # of the mode
            mode = given.get("mode", call.args[place] if len(call.args) > place else None)
            return _text_mode(mode)
        case "NamedTemporaryFile" | "TemporaryFile" | "SpooledTemporaryFile":
            mode = given.get("mode", call.args[0] if call.args else None)
            return mode is not None and _text_mode(mode)
        case "TextIOWrapper":
            return True
    return any(
        isinstance(given.get(word), ast.Constant) and given[word].value
        for word in ("text", "universal_newlines")
    )


def _faults(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _leaves_encoding(node):
            yield node.lineno


def test_no_call_leaves_the_encoding_to_the_locale() -> None:
    faults = [
        f"{file.relative_to(PACKAGE.parent)}:{line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line in _faults(file.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(["say encoding='utf-8':", *faults])


@pytest.mark.parametrize(
    ("call", "leaves"),
    [
        ("open(file)", True),
        ("open(file, 'w')", True),
        ("open(file, 'wb')", False),
        ("open(file, mode='r')", True),
        ("open(file, encoding='utf-8')", False),
        ("file.open()", True),
        ("file.open('a')", True),
        ("file.open('rb')", False),
        ("Study.open(file)", False),
        ("os.open(file, os.O_RDONLY)", False),
        ("os.fdopen(number)", True),
        ("os.fdopen(number, 'wb')", False),
        ("file.read_text()", True),
        ("file.write_text(text)", True),
        ("store.write_text(place, text)", False),
        ("file.write_text(text, encoding='utf-8')", False),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words, text=True, encoding='utf-8')", False),
        ("subprocess.run(words)", False),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("tempfile.NamedTemporaryFile()", False),
    ],
)
def test_what_the_search_takes_for_one_that_does(call: str, leaves: bool) -> None:
    assert bool(list(_faults(call))) == leaves
