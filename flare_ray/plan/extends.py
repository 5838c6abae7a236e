"""Sweep files that extend others: the fields of the others, with those of the file laid over them.

    extends: common.yaml                # a path from this file's folder
    extends: [common.yaml, small.yaml]  # later files over earlier ones, this file over all

Mappings are merged key by key at any depth; any other value, a list too, is replaced as a whole. Paths inside
of a file mean the same whichever file they stand in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.plan.schema import Sweep
from flare_ray.plan.yaml_values import read_value

KEY = "extends"


def extended(file: Path) -> dict[str, Any]:
    """The fields of a file and of all that it extends.

    Raises InputError with every file that cannot be read or extends itself, and by which chain it is reached.
    """
    problems: list[Problem] = []
    merged = _fields(file, read_yaml(file), (file,), problems)
    if problems:
        raise InputError(str(file), problems)
    return merged


def extended_files(file: Path) -> list[tuple[Path, str]]:
    """Return all files that a sweep file extends, and how each is named. Raises InputError as `extended`."""
    found: dict[Path, str] = {}
    pending = [file]
    while pending:
        one = pending.pop()
        for name in _names(read_yaml(one).get(KEY), (one,), []):
            other = one.parent / os.path.expanduser(name)
            if other not in found:
                found[other] = name
                pending.append(other)
    return list(found.items())


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file whose top is a mapping. Raises InputError with line and column."""
    if not file.is_file():
        near = registry.wanted(file.name, [p.name for p in sorted(file.parent.glob("*.yaml"))])
        raise InputError(str(file), [Problem("FILE", f"no file {file}", f"a sweep file: {near}")])
    try:
        raw = read_value(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = " ".join(str(error).split())
        raise InputError(str(file), [Problem("FILE", found, "YAML")]) from error
    if not isinstance(raw, dict):
        wanted = "a mapping of the fields " + ", ".join(Sweep.model_fields)
        raise InputError(str(file), [Problem("FILE", type(raw).__name__, wanted)])
    return raw


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping laid over another, mappings inside of them too."""
    both = dict(under)
    for key, value in over.items():
        mine = both.get(key)
        both[key] = merge(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return both


def _fields(
    file: Path, raw: Mapping[str, Any], chain: tuple[Path, ...], problems: list[Problem]
) -> dict[str, Any]:
    """A file's fields over those of the files that it extends; what is wrong with these goes to `problems`."""
    own = {key: value for key, value in raw.items() if key != KEY}
    merged: dict[str, Any] = {}
    for name in _names(raw.get(KEY), chain, problems):
        other = file.parent / os.path.expanduser(name)
        longer = (*chain, other)
        if other.resolve() in {one.resolve() for one in chain}:
            problems.append(Problem(KEY, _shown(longer), "files that do not extend themselves"))
            continue
        try:
            fields = read_yaml(other)
        except InputError as error:
            problems += [Problem(KEY, f"{_shown(longer)}: {one.found}", one.wanted) for one in error.problems]
            continue
        merged = merge(merged, _fields(other, fields, longer, problems))
    return merge(merged, own)


def _names(given: Any, chain: tuple[Path, ...], problems: list[Problem]) -> list[str]:
    """The files that one file extends, as written there."""
    names = given if isinstance(given, list) else [] if given is None else [given]
    wrong = [name for name in names if not isinstance(name, str) or not name]
    problems += [
        Problem(KEY, f"{name!r} in {_shown(chain)}", "the path of a sweep file, or a list of paths")
        for name in wrong
    ]
    return [name for name in names if name not in wrong]


def _shown(chain: tuple[Path, ...]) -> str:
    return " → ".join(map(str, chain))
